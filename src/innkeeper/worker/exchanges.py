"""Between uvicorn and an ASGI app: which requests wait, what an app leaves undone, and farewells.

A request counts as neglected since the app last received or sent anything for it. It is not neglected while the
app waits for the visitor: for more of the body, or to have a piece of the answer taken. How long that may be is up to
nginx. When the answer is sent, the app may go on for as long as it likes. WebSockets and event streams are never
neglected: they stay open until one side ends them, the process is replaced, or they have lasted for as long as the
site allows.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
import time
import traceback
from typing import IO, Any, Awaitable, Callable, Dict, Optional, Set, Tuple

from innkeeper.worker import answering

Message = Dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_RESTART = 1012  # "Service Restart" in IANA's registry of WebSocket close codes
_CHUNK = 65536
_IN_MEMORY = 1 << 20  # bytes of a body that are kept in memory, and not in a file
_NEVER = float("inf")
_SOONEST = 0.1  # seconds between looks for neglected requests


class Exchanges:
    """All requests and WebSockets that are open in this process."""

    def __init__(
        self, app: Any, largest_body: int, timeout: float, longest: float, on_late: Callable[[], None]
    ) -> None:
        self._app = app
        self._largest_body = largest_body
        self._timeout = timeout
        self._longest = longest
        self._on_late = on_late  # called when a request was given up
        self._open: Set[_Exchange] = set()
        self._finished = 0
        self._leaving = False
        self._looking = False

    def finished(self) -> int:
        """How many have come to their end."""
        return self._finished

    def oldest(self) -> float:
        """When the most neglected request was last seen to; now when none is.

        Those that were given up a moment ago are left to the event loop.
        """
        now = time.monotonic()
        with contextlib.suppress(RuntimeError):  # another thread's set has changed: look again next time
            return min((one.seen for one in list(self._open) if one.seen != _NEVER), default=now)
        return now

    def say_farewell(self) -> None:
        """This process is being replaced: those who would stay for ever are asked to come again."""
        self._leaving = True
        for one in list(self._open):
            one.leave()

    async def handle(self, scope: Any, receive: Receive, send: Send) -> None:
        """The ASGI app that uvicorn calls."""
        scope["server"] = _server(scope)
        kind = _WebSocket if scope["type"] == "websocket" else _Request
        one = kind(scope, receive, send, self)
        self._open.add(one)
        self._look_later()
        try:
            await one.run(self._app)
        finally:
            one.end()
            self._open.discard(one)
            self._finished += 1

    def any_goes_on(self) -> bool:
        """Whether the app goes on with one that is answered."""
        with contextlib.suppress(RuntimeError):  # another thread's set has changed: look again next time
            return any(one.goes_on for one in list(self._open))
        return True

    @property
    def leaving(self) -> bool:
        return self._leaving

    @property
    def largest_body(self) -> int:
        return self._largest_body

    @property
    def longest(self) -> float:
        return self._longest

    def _look_later(self) -> None:
        if not self._looking:
            self._looking = True
            due = self.oldest() + self._timeout - time.monotonic()
            asyncio.get_running_loop().call_later(max(_SOONEST, due), self._look)

    def _look(self) -> None:
        """Give up the requests that the app does nothing for, while the others go on."""
        self._looking = False
        limit = time.monotonic() - self._timeout
        for one in list(self._open):
            if one.seen <= limit:
                one.give_up()
                self._on_late()
        if self._open:
            self._look_later()


def _server(scope: Any) -> Tuple[str, int]:
    """The host and port that the visitor has asked, in the place of our socket's path."""
    secure = scope["scheme"] in ("https", "wss")
    host, port = "", 443 if secure else 80
    for name, value in scope["headers"]:
        if name == b"host":
            host = value.decode("latin-1").rsplit(":", 1)[0]
        elif name == b"x-forwarded-port" and value.isdigit():
            port = int(value)
    return host, port


class _Exchange:
    """One request or WebSocket, and the app's task for it."""

    def __init__(self, scope: Any, receive: Receive, send: Send, all_of_them: Exchanges) -> None:
        self.seen = time.monotonic()
        self._scope = scope
        self._receive = receive
        self._send = send
        self._all = all_of_them
        self._task = asyncio.current_task()
        self._given_up = self._may_last = False
        self.goes_on = False  # whether it is answered, and the app is not done with it
        self._waits = 0  # how often the visitor is waited for just now
        self._timer: Optional[asyncio.TimerHandle] = None
        self._farewell: Optional[asyncio.Future[None]] = None

    async def run(self, app: Any) -> None:
        raise NotImplementedError

    def give_up(self) -> None:
        """The app has taken too long."""
        self.seen, self._given_up, self._may_last = _NEVER, True, True
        if self._task is not None:
            self._task.cancel()

    def leave(self) -> None:
        """End it, if it is of a kind that does not end by itself."""

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _last(self) -> None:
        """From here on it may stay open for long, but not for ever."""
        self.seen, self._may_last = _NEVER, True
        if self._all.longest and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._all.longest, self.leave)
        if self._all.leaving:
            asyncio.get_running_loop().call_soon(self.leave)


class _WebSocket(_Exchange):
    _accepted = _closed = False

    async def run(self, app: Any) -> None:
        try:
            await app(self._scope, self._receive, self._pass_on)
        except asyncio.CancelledError:
            if not self._given_up:
                raise

    async def _pass_on(self, message: Message) -> None:
        if self._closed:
            return
        if message["type"] == "websocket.accept":
            self._accepted = True
            await self._send(message)
            self._last()
            return
        self._closed = message["type"] == "websocket.close"
        await self._send(message)

    def leave(self) -> None:
        if self._accepted and not self._closed:
            self._closed = True
            self._farewell = asyncio.ensure_future(self._close())

    async def _close(self) -> None:
        with contextlib.suppress(Exception):  # the visitor has gone at the same moment
            await self._send({"type": "websocket.close", "code": _RESTART, "reason": "service restart"})


class _Request(_Exchange):
    _started = _complete = _streams = _read = _is_cut_short = _is_too_large = False
    _received = 0
    _rest: Optional[IO[bytes]] = None

    async def run(self, app: Any) -> None:
        self._reading = asyncio.Lock()  # an app may have several tasks that receive
        self._scope["asgi"] = {**self._scope["asgi"], "spec_version": "2.4"}  # see `_pass_on`
        headers = dict(self._scope["headers"])
        length = int(headers.get(b"content-length") or 0)
        self._read = not length and b"transfer-encoding" not in headers
        largest = self._all.largest_body
        if largest and length > largest:
            await self._say(413, answering.TOO_LARGE)
            return
        try:
            await app(self._scope, self._take, self._pass_on)
        except asyncio.CancelledError:
            if not self._given_up:
                raise
            await self._say(504, answering.TOO_SLOW)
        except Exception:  # the app's own fault of any kind
            if self._gone:
                return
            if self._is_too_large:
                await self._say(413, answering.TOO_LARGE)
                return
            traceback.print_exc(file=sys.stderr)
            if self._started and not self._complete:
                raise  # the visitor is to see that the answer is not whole
            await self._say(500, answering.FAILED)
        else:
            if self._is_too_large and not self._started:
                await self._say(413, answering.TOO_LARGE)
            elif not self._started:
                print(f"the app gave no answer to {self._scope['path']}", file=sys.stderr)
                await self._say(500, answering.FAILED)

    async def _take(self) -> Message:
        if self._read and self._rest is None:
            return await self._receive()  # nothing but the visitor's going is left to hear of
        async with self._reading:
            rest = self._rest
            message = await self._receive_more() if rest is None else self._take_from_rest(rest)
            if self._is_too_large:
                raise BodyTooLarge
            return message

    async def _pass_on(self, message: Message) -> None:
        """OSError once the visitor has gone, as ASGI 2.4 has it: an app need not listen for that meanwhile,
        and by listening take away pieces of a body that another of its tasks reads."""
        if self._complete:
            return
        if self._gone:
            raise OSError("the visitor has gone")
        if message["type"] == "http.response.start":
            await self._keep_rest()
            if self._is_too_large:  # whatever the app makes of what `_take` has raised
                await self._say(413, answering.TOO_LARGE)
                return
            self._started = True
            self._streams = any(
                name.lower() == b"content-type" and value.startswith(b"text/event-stream")
                for name, value in message.get("headers", ())
            )
        elif message["type"] == "http.response.body" and not message.get("more_body", False):
            self._complete = True
        await self._hand_over(message)
        if self._complete:  # what the app does now, nobody waits for: a background task takes its time
            self.seen, self._may_last, self.goes_on = _NEVER, True, True
        elif self._streams:
            self._last()

    @property
    def _gone(self) -> bool:
        return bool(getattr(getattr(self._send, "__self__", None), "disconnected", False))

    async def _receive_more(self) -> Message:
        """The next piece of the body, for which it is the visitor who is waited for."""
        self._wait()
        try:
            message = await self._receive()
        finally:
            self._go_on()
        if message["type"] == "http.request":
            self._received += len(message.get("body", b""))
            self._read = not message.get("more_body", False)
            largest = self._all.largest_body
            self._is_too_large = bool(largest) and self._received > largest
        else:
            self._read = self._is_cut_short = True
        return message

    async def _hand_over(self, message: Message) -> None:
        """Send something; that the visitor takes what was sent before may be waited for."""
        self._wait()
        try:
            await self._send(message)
        finally:
            self._go_on()

    def _wait(self) -> None:
        self._waits += 1
        self.seen = _NEVER

    def _go_on(self) -> None:
        self._waits -= 1
        if not self._waits and not self._may_last:
            self.seen = time.monotonic()

    async def _keep_rest(self) -> None:
        """Read what is left of the body before the answer begins, for the app to read later if it likes.

        nginx sends no more of a body once the answer has begun; and to end with unread data would destroy
        the answer on its way.
        """
        if self._read:
            return
        async with self._reading:
            rest = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - closed by `end`
            while not self._read:
                message = await self._receive_more()
                if not self._is_too_large:
                    rest.write(message.get("body", b""))
            rest.seek(0)
            self._rest = rest

    def _take_from_rest(self, rest: IO[bytes]) -> Message:
        body = rest.read(_CHUNK)
        more = len(body) == _CHUNK
        if not more:
            rest.close()
            self._rest = None
        # Half a body must not look whole: uvicorn goes on to say that the visitor has gone.
        return {"type": "http.request", "body": body, "more_body": more or self._is_cut_short}

    def end(self) -> None:
        super().end()
        if self._rest is not None:
            self._rest.close()

    async def _say(self, status: int, page: bytes) -> None:
        if self._started:
            return
        headers = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", b"%d" % len(page))]
        await self._keep_rest()
        self._started = self._complete = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": page})

    def leave(self) -> None:
        if self._streams and not self._complete:
            self._complete = True
            self._farewell = asyncio.ensure_future(self._close())

    async def _close(self) -> None:
        with contextlib.suppress(Exception):  # the visitor has gone at the same moment
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})


class BodyTooLarge(Exception):
    """More was sent than the site takes, and without saying beforehand how much it is."""
