"""Generated text against what it was last time: a change shows in the golden files, and is meant.

To accept what is generated now: GOLDEN=write scripts/test tests/unit/test_golden.py
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from innkeeper.edge import mime, nginx, pages
from innkeeper.spec.node import Layout, NodeSettings

GOLDEN = Path(__file__).parent / "golden"
NODE = Layout(Path("/srv/node"))


def generated() -> dict[str, str]:
    addresses = [("0.0.0.0", 80), ("::", 80)]
    return {
        "nginx.conf": nginx.render(NODE, NodeSettings(max_body="50m"), addresses, open_files=200_000, cpus=4),
        "404.html": pages.render_all()["404"],
    }


@pytest.mark.parametrize("name", sorted(generated()))
def test_golden(name: str) -> None:
    text = generated()[name]
    if os.environ.get("GOLDEN") == "write":
        (GOLDEN / name).write_text(text)
    assert text == (GOLDEN / name).read_text()


def test_roots_that_nginx_would_misread_are_refused() -> None:
    with pytest.raises(ValueError, match="root"):
        nginx.render(
            Layout(Path("/srv/my node;")), NodeSettings(), [("0.0.0.0", 80)], open_files=1000, cpus=1
        )


@pytest.mark.parametrize(("asked", "cpus", "found"), [(0, 1, 1), (0, 2, 1), (0, 3, 2), (0, 8, 4), (3, 1, 3)])
def test_one_nginx_process_for_two_cpus(asked: int, cpus: int, found: int) -> None:
    settings = NodeSettings(nginx_workers=asked)
    text = nginx.render(NODE, settings, [("0.0.0.0", 80)], open_files=1000, cpus=cpus)
    assert f"\nworker_processes {found};\n" in text


def test_types_are_a_block_that_nginx_takes() -> None:
    text = mime.render()
    assert "    text/javascript mjs;\n" in text
    assert "    application/wasm wasm;\n" in text
    endings = [line.split()[1].rstrip(";") for line in text.splitlines() if line.startswith("    ")]
    assert len(endings) == len(set(endings)) > 150


@pytest.mark.parametrize("name", sorted(pages.PAGES))
def test_pages_say_what_to_do_and_nothing_of_the_inside(name: str) -> None:
    text = pages.render_all()[name].lower()
    assert "if this is your site" in text
    assert not [word for word in ("nginx", "uwsgi", "innkeeper", "python", "/var/", "/run/") if word in text]
