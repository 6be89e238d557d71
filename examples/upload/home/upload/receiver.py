"""Takes files, from a form or as a raw body, and answers with their sizes and checksums.

    curl -F file=@picture.jpg http://upload.localhost/       a form's way
    curl -T picture.jpg http://upload.localhost/             PUT /picture.jpg
    curl --data-binary @picture.jpg -H 'Content-Type: application/octet-stream' http://upload.localhost/

A browser is led back to the page; everyone else gets JSON.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import pages
import store
from body import Body, Truncated
from multipart import Malformed, boundary_of, read_parts

Environ = dict[str, Any]
RAW = ("", "application/octet-stream")
MOST = 100 * 1024 * 1024  # bytes in one request


class Answer(NamedTuple):
    status: str
    kind: str
    text: str
    headers: tuple[tuple[str, str], ...] = ()


class Refused(Exception):
    """The request can't be served: the status line, and a sentence that says why."""

    def __init__(self, status: str, why: str) -> None:
        super().__init__(why)
        self.status = status


def application(environ: Environ, start_response: Callable[..., object]) -> Iterable[bytes]:
    try:
        answer = _answer(environ)
    except Refused as refused:
        answer = _explain(environ, refused.status, str(refused))
    content = answer.text.encode()
    headers = [
        ("Content-Type", f"{answer.kind}; charset=utf-8"),
        ("Content-Length", str(len(content))),
        ("X-Content-Type-Options", "nosniff"),
        *answer.headers,
    ]
    start_response(answer.status, headers)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [content]


def _answer(environ: Environ) -> Answer:
    method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO") or "/"
    if method == "PUT" or (method == "POST" and path == "/"):
        return _received(environ, _receive(environ))
    if path != "/":
        raise Refused("404 Not Found", "There is nothing at this address.")
    if method not in ("GET", "HEAD"):
        raise Refused("405 Method Not Allowed", "This address takes GET, POST and PUT.")
    return Answer("200 OK", "text/html", pages.front(store.newest()))


def _received(environ: Environ, uploads: list[store.Upload]) -> Answer:
    if _is_browser(environ):
        return Answer("303 See Other", "text/html", "", (("Location", f"/#{uploads[-1].id}"),))
    found = {"files": [{"name": one.name, "size": one.size, "sha256": one.sha256} for one in uploads]}
    return Answer("201 Created", "application/json", json.dumps(found, indent=2, ensure_ascii=False) + "\n")


def _receive(environ: Environ) -> list[store.Upload]:
    """Write all files of the request to disk. Refused for what can't be."""
    try:
        uploads = [store.save(name, chunks) for name, chunks in _files(environ)]
    except Malformed as error:
        raise Refused("400 Bad Request", f"The form can't be understood: {error}.") from error
    except Truncated as error:
        raise Refused("400 Bad Request", "The upload broke off before its end.") from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise Refused("507 Insufficient Storage", "There is no room left for this file.") from error
    if not uploads:
        raise Refused("422 Unprocessable Content", "No file was chosen. Choose one, then send it.")
    return uploads


def _files(environ: Environ) -> Iterator[tuple[str, Iterable[bytes]]]:
    """The name and the content of each file, to be read in this order and just once."""
    kind = environ.get("CONTENT_TYPE", "")
    body = Body(environ["wsgi.input"], _length(environ))
    boundary = boundary_of(kind)
    if boundary:
        yield from ((part.filename, part.chunks) for part in read_parts(body, boundary) if part.filename)
    elif environ["REQUEST_METHOD"] == "PUT" or kind.partition(";")[0].strip() in RAW:
        yield _name_in_path(environ), iter(body.read, b"")
    else:
        raise Refused("415 Unsupported Media Type", "Send a form with files, or application/octet-stream.")


def _length(environ: Environ) -> int:
    text = environ.get("CONTENT_LENGTH", "")
    if not (text.isascii() and text.isdigit()):
        raise Refused("411 Length Required", "The request does not tell its length.")
    if int(text) > MOST:
        raise Refused("413 Content Too Large", f"One request may have at most {pages.size(MOST)}.")
    return int(text)


def _name_in_path(environ: Environ) -> str:
    last: str = (environ.get("PATH_INFO") or "/").rpartition("/")[2]
    return last.encode("latin-1").decode("utf-8", "replace") or "unnamed"


def _explain(environ: Environ, status: str, why: str) -> Answer:
    if _is_browser(environ):
        return Answer(status, "text/html", pages.refusal(status, why))
    return Answer(status, "application/json", json.dumps({"error": why}) + "\n")


def _is_browser(environ: Environ) -> bool:
    return "text/html" in environ.get("HTTP_ACCEPT", "")
