"""Bars, drawn as SVG: readable on a light and on a dark page, with the figures beside them."""

from __future__ import annotations

from collections.abc import Mapping
from xml.sax.saxutils import escape

_WIDTH, _LABEL, _ROW, _TOP = 740, 265, 26, 44
_OURS, _THEIRS, _FAINT = "#0f766e", "#94a3b8", "#cbd5e1"
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#475569}.title{font-weight:600;font-size:15px}"
    "@media(prefers-color-scheme:dark){text{fill:#e2e8f0}}"
)


def bars(title: str, values: Mapping[str, float], unit: str, ours: str) -> str:
    """A chart of one value for each name; the shortest bar is the best one."""
    most = max(values.values()) or 1.0
    room = _WIDTH - _LABEL - 110
    rows = []
    for number, (name, value) in enumerate(values.items()):
        y, length = _TOP + number * _ROW, max(1.0, room * value / most)
        colour = _OURS if name == ours else _THEIRS
        rows.append(
            f'<text x="{_LABEL - 8}" y="{y + 15}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="{_LABEL}" y="{y + 2}" width="{length:.1f}" height="{_ROW - 8}" rx="3" fill="{colour}"/>'
            f'<text x="{_LABEL + length + 8:.1f}" y="{y + 15}">{figure(value)} {escape(unit)}</text>'
        )
    height = _TOP + len(values) * _ROW + 12
    said = "; ".join(f"{name}: {figure(value)} {unit}" for name, value in values.items())
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" '
        f'height="{height}" role="img" aria-label="{escape(title)}">\n<title>{escape(title)}</title>'
        f"<desc>{escape(said)}</desc>\n<style>{_STYLE}</style>\n"
        f'<text class="title" x="8" y="24">{escape(title)}</text>\n'
        f'<line x1="{_LABEL}" y1="{_TOP - 4}" x2="{_LABEL}" y2="{height - 10}" stroke="{_FAINT}"/>\n'
        + "\n".join(rows)
        + "\n</svg>\n"
    )


def figure(value: float) -> str:
    """A number with three digits that count."""
    if value and abs(value) < 10:
        return f"{value:.2f}"
    return f"{value:.1f}" if abs(value) < 100 else f"{value:,.0f}"
