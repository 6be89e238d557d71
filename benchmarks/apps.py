"""The apps that are measured: the smallest of each kind, the same for every system."""

from __future__ import annotations

import atexit
import shutil
import subprocess
import tempfile
from pathlib import Path

SMALL, LARGE = 1024, 1024 * 1024  # bytes of static/small.txt and static/large.bin
PLAIN = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"plain"]
"""
FLASK = """
from flask import Flask
application = Flask(__name__)

@application.get("/")
def front():
    return "flask"
"""
FASTAPI = """
from fastapi import FastAPI
app = FastAPI()

@app.get("/")
async def front():
    return {"fastapi": True}
"""
# A project that has grown: nobody could have imported its own modules beforehand.
GROWN = "Flask, grown"
_MODULES = 60
_MODULE = """
import dataclasses
import enum
import re

PATTERN = re.compile(r"(?P<key>[a-z_]{{1,{number}}})\\s*=\\s*(?P<value>\\w+)")


class Kind(enum.Enum):
    FIRST = "first-{number}"
    SECOND = "second-{number}"


@dataclasses.dataclass(frozen=True)
class Record:
    name: str
    kind: Kind = Kind.FIRST
    number: int = {number}

    def as_text(self) -> str:
        return f"{{self.kind.value}}: {{self.name}} ({{self.number}})"


class View:
    def __init__(self, records):
        self.records = list(records)

    def render(self):
        return "\\n".join(record.as_text() for record in self.records)
"""


# What a mix of sites imports beside its framework; a part of each is in no list of modules to preload.
MIX = {
    "Flask, SQLAlchemy": "import sqlalchemy.orm, sqlalchemy.dialects.postgresql\n" + FLASK,
    "Flask, requests": "import requests\n" + FLASK,
    "Flask, Redis": "import redis\n" + FLASK,
    "Flask, Pillow": "from PIL import Image, ImageDraw, PngImagePlugin\n" + FLASK,
    "NumPy": "import numpy\n" + PLAIN,
    "psycopg": "import psycopg, decimal, csv\n" + PLAIN,
    "PyMySQL, xml": "import pymysql, xml.etree.ElementTree, concurrent.futures, statistics\n" + PLAIN,
    "httpx": "import httpx, xmlrpc.client, multiprocessing\n" + PLAIN,
}


_projects: dict[str, Path] = {}  # by kind, to be copied


def write(folder: Path, kind: str, python: Path) -> str:
    """Write the app of this kind into `folder`; returns its entry as a site file names it, less the folder."""
    (folder / "static").mkdir(parents=True)
    (folder / "static/small.txt").write_bytes(b"s" * SMALL)
    with (folder / "static/large.bin").open("wb") as file:
        file.truncate(LARGE)
    if kind in _MAKERS:
        if kind not in _projects:
            made = _projects[kind] = Path(tempfile.mkdtemp(prefix="ikp", dir="/tmp"))
            atexit.register(shutil.rmtree, made, ignore_errors=True)
            _MAKERS[kind](made, python)
        shutil.copytree(_projects[kind], folder, dirs_exist_ok=True)
    if kind == "Django":
        settings = folder / "project/settings.py"
        settings.write_text(
            settings.read_text().replace("ALLOWED_HOSTS = []", 'ALLOWED_HOSTS = [".localhost"]')
        )
        return "project.wsgi:application"
    if kind == GROWN:
        return "app:application"
    (folder / "app.py").write_text({"plain WSGI": PLAIN, "Flask": FLASK, "FastAPI": FASTAPI}[kind])
    return "app:app" if kind == "FastAPI" else "app:application"


def _make_django(place: Path, python: Path) -> None:
    """A fresh project, as `django-admin startproject` makes it: its front page is Django's own welcome."""
    _run(python, "django", "startproject", "project", str(place))


def _make_grown(place: Path, python: Path) -> None:
    """An app with a package of its own, compiled as after its first start."""
    package = place / "grown"
    package.mkdir()
    names = [f"part{number}" for number in range(_MODULES)]
    for number, name in enumerate(names):
        (package / f"{name}.py").write_text(_MODULE.format(number=number + 1))
    (package / "__init__.py").write_text("".join(f"from grown import {name}\n" for name in names))
    (place / "app.py").write_text(f"import grown\n{FLASK}")
    _run(python, "compileall", "-q", str(place))


def _run(python: Path, *arguments: str) -> None:
    subprocess.run([str(python), "-m", *arguments], check=True, stdin=subprocess.DEVNULL)


_MAKERS = {"Django": _make_django, GROWN: _make_grown}
