"""The HTML: one frame, filled in."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from string import Template

import store

FRAME = Template((Path(__file__).resolve().parent / "frame.html").read_text(encoding="utf-8"))

_FORM = """<form method="post" action="/" enctype="multipart/form-data">
<label for="file">Files to send <span>one or several</span></label>
<input id="file" type="file" name="file" multiple required>
<button type="submit">Upload</button>
</form>
"""


def front(uploads: Sequence[store.Upload]) -> str:
    """The form, and what has come so far."""
    if uploads:
        rows = "\n".join(map(_row, uploads))
        heading = f"<h2>Received <span>the newest {store.KEPT} are kept</span></h2>"
        listing = f'{heading}\n<ol class="files">\n{rows}\n</ol>'
    else:
        listing = '<p class="empty">Nothing has come yet.</p>'
    lead = "Send a file. Back come its size and its SHA-256, so you can tell that every byte arrived."
    return FRAME.substitute(title="Upload", lead=lead, content=_FORM + listing)


def refusal(status: str, why: str) -> str:
    """Why a request was not served."""
    back = '<p><a href="/">Back to the uploads</a></p>'
    return FRAME.substitute(title=escape(status.partition(" ")[2]), lead=escape(why), content=back)


def size(count: int) -> str:
    """Bytes as people read them: 10485760 is 10.0 MiB."""
    amount = float(count)
    for unit in ("bytes", "KiB", "MiB"):
        if amount < 1024:
            return f"{count} bytes" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def _row(upload: store.Upload) -> str:
    when = datetime.fromtimestamp(upload.at, UTC)
    exact = f' title="{upload.size} bytes"' if upload.size >= 1024 else ""
    return (
        f'<li id="{upload.id}"><p class="name">{escape(upload.name)}</p>'
        f'<p class="facts"><span{exact}>{size(upload.size)}</span> '
        f'<time datetime="{when.isoformat(timespec="seconds")}">{when:%d %b %Y, %H:%M} UTC</time></p>'
        f'<code aria-label="SHA-256">{upload.sha256}</code></li>'
    )
