"""The apps that are measured: the smallest of each kind, the same for every system."""

from __future__ import annotations

import subprocess
from pathlib import Path

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


def write(folder: Path, kind: str, python: Path) -> str:
    """Write the app of this kind into `folder`; returns its entry as a site file names it, less the folder."""
    folder.mkdir(parents=True)
    if kind == "Django":
        # A fresh project, as `django-admin startproject` makes it: its front page is Django's own welcome.
        command = [python, "-m", "django", "startproject", "project", folder]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        return "project.wsgi:application"
    (folder / "app.py").write_text(PLAIN if kind == "plain WSGI" else FLASK)
    return "app:application"
