"""The relay before a command: when one side goes, the other is told."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from innkeeper.worker.relay import Relay

ASKED = b"GET / HTTP/1.1\r\nHost: one.test\r\n\r\n"
SAID = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + bytes(2000)
Command = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


async def says_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An answer that has no end."""
    writer.write(SAID)
    while True:
        writer.write(bytes(1 << 16))
        await writer.drain()


async def waits(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An answer that is not over, while there is nothing to say."""
    writer.write(SAID)
    await reader.read()


@pytest.mark.parametrize("command", [says_all, waits])
def test_a_visitor_who_breaks_off_a_download_is_told_to_the_command(tmp_path: Path, command: Command) -> None:
    async def play() -> None:
        over = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, told: wrong.append(told))

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                await reader.readuntil(b"\r\n\r\n")
                await command(reader, writer)
            writer.close()
            over.set()

        place = str(tmp_path / "command")
        relay = Relay(0, 60.0, 0.0, place, lambda: None)
        async with (
            await asyncio.start_unix_server(serve, place),
            await asyncio.start_unix_server(relay.accept, tmp_path / "site"),
        ):
            with socket.socket(socket.AF_UNIX) as visitor:
                visitor.setblocking(False)
                await loop.sock_connect(visitor, str(tmp_path / "site"))
                await loop.sock_sendall(visitor, ASKED)
                assert await loop.sock_recv(visitor, 1000)
            async with asyncio.timeout(5):
                await over.wait()
                await relay.emptied()

    wrong: list[Any] = []
    asyncio.run(play())
    assert not wrong


@pytest.mark.parametrize("accepts", [True, False])
def test_who_finds_the_commands_queue_full_waits_for_as_long_as_a_request_may(
    tmp_path: Path, accepts: bool
) -> None:
    async def play() -> None:
        late: list[bool] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            writer.close()

        async def ask() -> bytes:
            reader, writer = await asyncio.open_unix_connection(tmp_path / "site")
            writer.write(ASKED)
            answer = await reader.read()
            writer.close()
            return answer[:12]

        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / "command"))
            listener.listen(1)
            limit = 60.0 if accepts else 0.5
            relay = Relay(0, limit, 0.0, str(tmp_path / "command"), lambda: late.append(True))
            async with await asyncio.start_unix_server(relay.accept, tmp_path / "site"), asyncio.timeout(20):
                asking = asyncio.gather(*(ask() for _ in range(6)))
                await asyncio.sleep(0.2)
                assert not asking.done()
                if accepts:
                    await asyncio.start_unix_server(serve, sock=listener, backlog=1)
                assert await asking == [b"HTTP/1.1 204" if accepts else b"HTTP/1.1 504"] * 6
                await relay.emptied()
                assert len(late) == (0 if accepts else 6)

    asyncio.run(play())


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        (
            [b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\n\r\nhi"],
            b"HTTP/1.1 200 OK\r\n\r\nhi",
        ),
        (
            [b"HTTP/1.1 100 Continue\r\n\r", b"\n", b"HTTP/1.1 102 P\r\n\r\n", b"HTTP/1.1 204 No\r\n\r\n"],
            b"HTTP/1.1 204 No\r\n\r\n",
        ),
        (
            [b"HTTP/1.1 101 Switching Protocols\r\n\r\n", b"frames"],
            b"HTTP/1.1 101 Switching Protocols\r\n\r\nframes",
        ),
        ([b"HTTP/1.1 2", b"00 OK\r\n", b"a: b\r\n\r\n", b"body"], b"HTTP/1.1 200 OK\r\na: b\r\n\r\nbody"),
        (
            [b"HTTP/1.1 100\r\n\r\nHTTP/1.1 200 OK\r\na: b\r\n\r\nbody"],
            b"HTTP/1.1 200 OK\r\na: b\r\n\r\nbody",
        ),
        ([b"no head at all"], b"no head at all"),
    ],
)
def test_what_a_command_says_before_its_answer_is_left_out(
    tmp_path: Path, said: list[bytes], heard: bytes
) -> None:
    """nginx would take the first head for the answer's."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in said:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)
        writer.close()

    async def play() -> bytes:
        place = str(tmp_path / "command")
        relay = Relay(0, 60.0, 0.0, place, lambda: None)
        async with (
            await asyncio.start_unix_server(serve, place),
            await asyncio.start_unix_server(relay.accept, tmp_path / "site"),
        ):
            reader, writer = await asyncio.open_unix_connection(tmp_path / "site")
            writer.write(ASKED)
            async with asyncio.timeout(10):
                answer = await reader.read()
            writer.close()
            return answer

    assert asyncio.run(play()) == heard
