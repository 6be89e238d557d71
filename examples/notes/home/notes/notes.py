"""A board of short notes: the pages."""

from __future__ import annotations

from urllib.parse import urlsplit

import board
from flask import Flask, Response, abort, redirect, render_template, request, url_for
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as Redirect

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 16 * 1024


@app.before_request
def refuse_other_sites() -> None:
    """A form on another site can't write here: a browser tells where a form stood."""
    origin = request.headers.get("Origin")
    if request.method == "POST" and origin and urlsplit(origin).netloc != request.host:
        abort(403, "This form was sent from another site. Write your note on this page.")


@app.get("/")
def show() -> str:
    return render_template(
        "board.html", notes=board.read(), colours=board.COLOURS, longest=board.LONGEST, kept=board.KEPT
    )


@app.post("/notes")
def add() -> Redirect:
    text = request.form.get("text", "").replace("\r\n", "\n").strip()
    colour = request.form.get("colour", board.COLOURS[0])
    if not text:
        abort(422, "A note needs a word or two.")
    if len(text) > board.LONGEST:
        abort(422, f"A note has at most {board.LONGEST} characters; this one has {len(text)}.")
    if colour not in board.COLOURS:
        abort(422, "There is no paper of that colour.")
    board.add(text, colour)
    return redirect(url_for("show"), 303)


@app.post("/notes/<int(max=999999999):number>/pin")
def pin(number: int) -> Redirect:
    if not board.toggle_pin(number):
        abort(404, "This note has been taken off the board.")
    return redirect(url_for("show"), 303)


@app.post("/notes/<int(max=999999999):number>/remove")
def remove(number: int) -> Redirect:
    board.remove(number)
    return redirect(url_for("show"), 303)


@app.errorhandler(HTTPException)
def explain(error: HTTPException) -> tuple[str, int] | Response:
    """Every refusal is a page that says why, and leads back."""
    if error.code is None or error.code < 400:
        return error.get_response()  # type: ignore[return-value]
    return render_template("error.html", error=error), error.code
