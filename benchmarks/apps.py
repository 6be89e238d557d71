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


_project: list[Path] = []  # a fresh one, to be copied


def write(folder: Path, kind: str, python: Path) -> str:
    """Write the app of this kind into `folder`; returns its entry as a site file names it, less the folder."""
    (folder / "static").mkdir(parents=True)
    (folder / "static/small.txt").write_bytes(b"s" * SMALL)
    with (folder / "static/large.bin").open("wb") as file:
        file.truncate(LARGE)
    if kind == "Django":
        # A fresh project, as `django-admin startproject` makes it: its front page is Django's own welcome.
        if not _project:
            made = Path(tempfile.mkdtemp(prefix="ikp", dir="/tmp"))
            atexit.register(shutil.rmtree, made, ignore_errors=True)
            command = [str(python), "-m", "django", "startproject", "project", str(made)]
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
            _project.append(made)
        shutil.copytree(_project[0], folder, dirs_exist_ok=True)
        settings = folder / "project/settings.py"
        settings.write_text(
            settings.read_text().replace("ALLOWED_HOSTS = []", 'ALLOWED_HOSTS = [".localhost"]')
        )
        return "project.wsgi:application"
    (folder / "app.py").write_text({"plain WSGI": PLAIN, "Flask": FLASK, "FastAPI": FASTAPI}[kind])
    return "app:app" if kind == "FastAPI" else "app:application"
