"""Between uvicorn and an ASGI app: what an app is told of a body that it reads after it has begun to answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from innkeeper.worker.exchanges import Exchanges

Message = dict[str, Any]
SCOPE = {
    "type": "http",
    "asgi": {},
    "scheme": "http",
    "path": "/",
    "headers": [(b"transfer-encoding", b"chunked")],
}


class Visitor:
    """Sends pieces of a body, and goes away then unless it was `whole`; its methods are as uvicorn's."""

    def __init__(self, *pieces: bytes, whole: bool) -> None:
        self._pieces = list(pieces)
        self._whole = whole
        self.disconnected = False
        self.got: list[Message] = []

    async def receive(self) -> Message:
        if self._pieces:
            body = self._pieces.pop(0)
            return {"type": "http.request", "body": body, "more_body": bool(self._pieces) or not self._whole}
        self.disconnected = True
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.got.append(message)


class App:
    """Answers first and reads then; `stored` is what it takes to be the whole of the body."""

    def __init__(self) -> None:
        self.stored: bytes | None = None

    async def __call__(self, _: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message["body"]
            if not message["more_body"]:
                self.stored = body
                break
        await send({"type": "http.response.body"})


def visit(visitor: Visitor, largest_body: int = 0) -> bytes | None:
    """What the app has stored."""
    app = App()
    exchanges = Exchanges(app, largest_body, 60.0, 0.0, lambda: None)
    asyncio.run(exchanges.handle(dict(SCOPE), visitor.receive, visitor.send))
    return app.stored


@pytest.mark.parametrize("size", [1, 65536, 100_000])
def test_a_whole_body_is_told_to_be_whole(size: int) -> None:
    assert visit(Visitor(bytes(size), b"end", whole=True)) == bytes(size) + b"end"


@pytest.mark.parametrize("size", [0, 1, 65536, 100_000])
def test_an_upload_that_breaks_off_does_not_look_whole(size: int) -> None:
    assert visit(Visitor(bytes(size), whole=False)) is None


def test_what_was_kept_of_a_body_that_is_too_large_does_not_look_whole(
    capsys: pytest.CaptureFixture[str],
) -> None:
    visitor = Visitor(bytes(600), bytes(600), whole=True)
    assert visit(visitor, 1000) is None
    assert visitor.got[0]["status"] == 413
    assert capsys.readouterr().err == ""
