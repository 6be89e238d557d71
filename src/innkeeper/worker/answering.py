"""Between uWSGI and the app: what an app may leave undone, and nginx would take for a broken connection.

The kernel answers the closing of a socket that holds unread data by a reset, in which an answer that is on
its way gets lost. So what an app leaves unread of a request's body is read here. And an app that fails gives
the visitor status 500; uWSGI alone would close the connection.

Some things that PEP 3333 promises are not as they should be in uWSGI 2.0.30, and are mended here: an app may
call `start_response` again with `exc_info` (uWSGI fails over it), a file is sent from where it stands (uWSGI
sends all of it), a program that is started by one of several threads hears signals (uWSGI blocks all), and what
is no answer is an error (uWSGI logs it, and sends an empty one).
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import traceback
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional
from urllib.parse import unquote_to_bytes
from wsgiref.util import FileWrapper

from innkeeper.worker.turns import Turns

Environ = Dict[str, Any]
App = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]
Sever = Callable[[int], None]  # takes the descriptor of a connection

_CHUNK = 65536
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>{title}</title>
<body style="margin:15vh auto;max-width:34rem;padding:0 1.5rem;font:1.05rem/1.6 system-ui,sans-serif">
<p><b>{code}</b></p><h1>{title}</h1>
<p>{text}</p>
<p><b>If this is your site:</b> {owner}</p>
"""
FAILED = _PAGE.format(
    code=500,
    title="The site failed to answer",
    text="Something went wrong in the site itself. Trying again later may help.",
    owner="the traceback is at the end of your error log.",
).encode()
TOO_LARGE = _PAGE.format(
    code=413,
    title="This upload is too large",
    text="What you sent is larger than this site accepts. Try a smaller file.",
    owner="the limit is <code>body</code> under <code>[limits]</code> in its settings.",
).encode()
TOO_SLOW = _PAGE.format(
    code=504,
    title="The site took too long",
    text="It did not answer in the time it has for a request. Trying again later may help.",
    owner="the limit is <code>timeout</code> under <code>[app]</code> in its settings.",
).encode()


def guarded(
    app: App,
    largest_body: int = 0,
    turns: Optional[Turns] = None,
    *,
    multiprocess: bool = False,
    sever: Sever = lambda _: None,
) -> App:
    """The app, finishing what it leaves undone; bodies larger than `largest_body` bytes (0 = any) are refused.

    `turns`: of its threads, if it has several. `multiprocess`: whether it has several processes, of which uWSGI
    knows but one. `sever`: called for a connection whose answer breaks off, before it is closed.
    """

    def answer(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if not hasattr(_thread, "hears"):
            signal.pthread_sigmask(
                signal.SIG_SETMASK, ()
            )  # the process's own go to its main thread all the same
            _thread.hears = True
        if turns is not None:
            turns.begin()
        body = environ["wsgi.input"]
        _complete(environ, multiprocess)
        sender = environ["wsgi.file_wrapper"]
        if largest_body and int(environ.get("CONTENT_LENGTH") or 0) > largest_body:
            start_response("413 Content Too Large", [("Content-Type", "text/html; charset=utf-8")])
            _finish(body)
            return [TOO_LARGE]
        try:
            result: Iterable[bytes] = _ask(app, environ, start_response)
        except Exception:  # the app's own fault of any kind
            result = _fail(start_response, body, sever)
        else:
            has_body = environ.get("CONTENT_LENGTH", "0") not in ("", "0")
            if not isinstance(result, (list, tuple)) and result is not sender.sent:
                result = _Made(result, start_response, body, sever, has_body)
            elif has_body:
                _finish(body)
        if turns is not None:
            turns.end()
        return result

    return answer


def _complete(environ: Environ, multiprocess: bool) -> None:
    """What nginx and uWSGI can't tell an app, or tell it otherwise."""
    if multiprocess:
        environ["wsgi.multiprocess"] = True
    environ["wsgi.file_wrapper"] = _Sender(environ["wsgi.file_wrapper"])
    if sys.stderr is not None:  # uWSGI's own is buffered, and what it holds dies with the process
        environ["wsgi.errors"] = sys.stderr
    sent = environ["REQUEST_URI"]
    if "%" in sent:  # nginx decodes a path only by putting it in order, without // and /../
        path = sent.partition("?")[0]
        if "%" in path and "#" not in path:
            environ["PATH_INFO"] = unquote_to_bytes(path.encode("latin-1")).decode("latin-1")


def _ask(app: App, environ: Environ, start_response: Callable[..., Any]) -> Any:
    """What the app returns. TypeError when that is no answer, which uWSGI would log only."""
    result = app(environ, _Start(start_response))
    if isinstance(result, (list, tuple)):
        for piece in result:
            if not isinstance(piece, bytes):
                raise _wrong(piece)
    elif isinstance(result, bytes):  # not what WSGI wants, but uWSGI sends it
        return [result]
    elif result is None or isinstance(result, str):
        raise TypeError(f"the app returned {_kind(result)}; WSGI wants a list of bytes, or the like")
    return result


def _fail(start_response: Callable[..., Any], body: Any, sever: Sever) -> List[bytes]:
    """Print what was raised, and answer by a page; or break off, when another answer has begun."""
    with contextlib.suppress(Exception):  # the app may have closed sys.stderr
        traceback.print_exc()
    headers = [("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(FAILED)))]
    try:
        start_response("500 Internal Server Error", headers)
    except OSError:
        sever(body.fileno())
        return []
    _finish(body)
    return [FAILED]


def _wrong(piece: Any) -> TypeError:
    return TypeError(f"the app's answer holds {_kind(piece)}; WSGI wants bytes")


def _kind(thing: Any) -> str:
    return "None" if thing is None else f"a value of type {type(thing).__name__}"


_thread = threading.local()


class _Start:
    """`start_response` of one request."""

    __slots__ = ("_begun", "_start")

    def __init__(self, start: Callable[..., Any]) -> None:
        self._start = start
        self._begun = False

    def __call__(self, status: str, headers: Any, exc_info: Any = None) -> Any:
        for name, value in headers:
            if "\n" in value or "\r" in value or "\n" in name or "\r" in name:
                raise ValueError(
                    f"there is a line break in the header {name!r}"
                )  # what follows would be another
        if exc_info:
            try:
                return self._start(status, headers)
            except OSError:  # the headers of the answer are sent
                raise exc_info[1].with_traceback(exc_info[2]) from None
            finally:
                exc_info = None  # it refers to this frame
        if self._begun:
            raise AssertionError("start_response was called again without exc_info")
        self._begun = True
        return self._start(status, headers)


class _Sender:
    """`wsgi.file_wrapper` of one request."""

    __slots__ = ("_send", "sent")

    def __init__(self, send: Callable[..., Any]) -> None:
        self._send = send
        self.sent: object = self  # what uWSGI sends by itself when the app returns it

    def __call__(self, file: Any, size: int = 8192) -> Iterable[bytes]:
        try:
            whole = not file.fileno() or not file.tell()
        except (AttributeError, OSError, ValueError):  # it is only like a file, and will be read
            whole = True
        if not whole:
            return FileWrapper(file, size)
        sent: Iterable[bytes] = self._send(file, size)
        self.sent = sent
        return sent


class _Made:
    """An answer that is made while it is sent, and may still read the request's body."""

    __slots__ = ("_body", "_is_left", "_result", "_sever", "_start")

    def __init__(
        self, result: Iterable[bytes], start: Callable[..., Any], body: Any, sever: Sever, has_body: bool
    ) -> None:
        self._result = result
        self._start = start
        self._body = body
        self._sever = sever
        self._is_left = has_body  # whether something of the body may be left to read

    def __iter__(self) -> Iterator[bytes]:
        try:
            for piece in self._result:
                if not isinstance(piece, bytes):
                    raise _wrong(piece)
                yield piece
        except Exception:  # the app's own fault of any kind
            self._is_left = False
            yield from _fail(self._start, self._body, self._sever)

    def close(self) -> None:
        try:
            close = getattr(self._result, "close", None)
            if close is not None:
                close()
        finally:
            if self._is_left:
                _finish(self._body)


def _finish(body: Any) -> None:
    """Read what is left of a request's body."""
    try:
        while body.read(_CHUNK):
            pass
    except (OSError, ValueError):
        return  # the visitor has gone, or the app has closed it
