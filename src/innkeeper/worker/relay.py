"""The relay before a command: it accepts for it, passes bytes both ways, and knows what is in flight."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import time
from typing import Callable, Optional, Set

from innkeeper.worker import answering, program

CHUNK = 65536
_AHEAD = 1 << 20  # bytes of an answer that are taken from the command before the visitor has taken them
_LONGEST_HEAD = 128 << 10
_FAREWELL = 5.0  # seconds that streams and WebSockets have to end once the command was told to
_LINGER = 5.0  # seconds that what is left of a request is read after the answer
_STREAM = re.compile(
    rb"HTTP/1\.[01] 101 |.*\r\ncontent-type:[ \t]*text/event-stream", re.IGNORECASE | re.DOTALL
)
# What may come before an answer, and what nginx would take for it.
_INTERIM = re.compile(rb"HTTP/1\.[01] 1(?!01)\d\d(?=[ \r]).*?\r\n\r\n", re.DOTALL)
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)[ \t]*\r\n", re.IGNORECASE)


class Relay:
    """All conversations between visitors and the command."""

    def __init__(
        self,
        largest_body: int,
        timeout: float,
        longest: float,
        address: program.Address,
        on_late: Callable[[], None],
    ) -> None:
        self.largest_body = largest_body
        self.timeout = timeout
        self.longest = longest
        self.leaving = False
        self._address = address
        self._on_late = on_late
        self._open: Set[Conversation] = set()
        self._finished = 0
        self._parting: Optional[asyncio.Task[None]] = None
        self._line = asyncio.Lock()  # of those who wait for room in the queue of a Unix socket

    def finished(self) -> int:
        """How many conversations have come to their end."""
        return self._finished

    def oldest(self) -> float:
        """When the most neglected request was last seen to; now when none waits for the command."""
        now = time.monotonic()
        waiting = (one.seen for one in list(self._open) if not (one.streams or one.is_held_up))
        return min(waiting, default=now)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of nginx's, which carries one request."""
        conversation = Conversation(self, reader, writer)
        self._open.add(conversation)
        try:
            await conversation.run()
        except OSError:
            pass  # one side has gone
        finally:
            self._open.discard(conversation)
            self._finished += 1
            writer.close()

    async def connect(self) -> socket.socket:
        """A connection to the command. OSError when it does not accept any."""
        if not isinstance(self._address, str):
            return await program.connect(self._address)
        async with self._line:
            return await program.connect(self._address)

    def note_late(self) -> None:
        self._on_late()

    async def emptied(self) -> None:
        """Wait until every conversation has come to its end."""
        while self._open:
            await asyncio.sleep(program.LOOK)

    def take_leave(self, end_command: Callable[[], None]) -> None:
        """Nothing more is accepted. Once all plain requests are answered, streams and WebSockets are ended."""
        self.leaving = True
        self._parting = asyncio.ensure_future(self._part(end_command))

    async def _part(self, end_command: Callable[[], None]) -> None:
        while any(not one.streams for one in self._open):
            await asyncio.sleep(program.LOOK)
        if self._open:
            end_command()  # a server that knows of WebSockets tells them to go
            await asyncio.sleep(_FAREWELL)
            for one in list(self._open):
                one.abandon()


class Conversation:
    """One request and its answer, or one WebSocket."""

    def __init__(self, relay: Relay, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.seen = time.monotonic()
        self.streams = False
        self.is_held_up = False  # the visitor takes no more of the answer just now
        self._relay = relay
        self._reader = reader
        self._writer = writer
        self._answered = False
        self._timer: Optional[asyncio.TimerHandle] = None
        self._command: Optional[socket.socket] = None
        writer.transport.set_write_buffer_limits(high=_AHEAD)

    async def run(self) -> None:
        head = await self._read_head()
        length = _LENGTH.search(head)
        if self._relay.largest_body and length and int(length[1]) > self._relay.largest_body:
            await self._say(413, "Content Too Large", answering.TOO_LARGE)
            await self._read_rest()
            return
        self._attend()
        try:
            self._command = await asyncio.wait_for(self._relay.connect(), self._relay.timeout)
        except asyncio.TimeoutError:  # others filled its queue all the time
            self._relay.note_late()
            await self._give_up()
            await self._read_rest()
            return
        self._watch()
        asking = asyncio.ensure_future(self._ask(self._command, head))
        try:
            await self._answer(self._command)
            if not self._writer.is_closing():
                self._writer.write_eof()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(asking, _LINGER)
        finally:
            asking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asking
            if self._timer is not None:
                self._timer.cancel()
            self._command.close()

    async def _read_rest(self) -> None:
        """To leave what is on its way unread would destroy the answer on its own."""
        with contextlib.suppress(asyncio.TimeoutError, OSError):
            await asyncio.wait_for(self._read_to_end(), _LINGER)

    async def _read_to_end(self) -> None:
        while await self._reader.read(CHUNK):
            pass

    def abandon(self) -> None:
        """End it, whatever it is at."""
        if self._command is not None:
            with contextlib.suppress(OSError):
                self._command.shutdown(socket.SHUT_RDWR)

    async def _read_head(self) -> bytes:
        head = b""
        while b"\r\n\r\n" not in head and len(head) < _LONGEST_HEAD:
            piece = await self._reader.read(CHUNK)
            if not piece:
                raise ConnectionResetError
            head += piece
        return head

    async def _ask(self, command: socket.socket, piece: bytes) -> None:
        """Pass the request on. What the command will not have is read all the same: to leave it unread would
        destroy the answer on its way."""
        loop = asyncio.get_running_loop()
        takes = True
        while piece:
            self._attend()
            if takes:
                try:
                    await loop.sock_sendall(command, piece)
                except OSError:
                    takes = False
            try:
                piece = await self._reader.read(CHUNK)
            except OSError:  # with a part of the answer unread
                break
        self.abandon()  # the visitor has gone

    async def _answer(self, command: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        head: Optional[bytes] = b""
        while True:
            try:
                piece = await loop.sock_recv(command, CHUNK)
            except ConnectionResetError:
                if not self._answered:
                    raise
                return  # it has closed without reading all of the body; what it had said came before
            if not piece and not head:
                return
            self._attend()
            if head is not None:
                head += piece
                while interim := _INTERIM.match(head):
                    head = head[interim.end() :]
                if piece and b"\r\n\r\n" not in head and len(head) <= _LONGEST_HEAD:
                    continue
                self._note_kind(head.partition(b"\r\n\r\n")[0])
                piece, head = head, None
            self._answered = True
            self._writer.write(piece)
            self.is_held_up = True
            await self._writer.drain()
            self.is_held_up = False
            self._attend()

    def _note_kind(self, head: bytes) -> None:
        if _STREAM.match(head) and not self.streams:
            self.streams = True
            if self._timer is not None:
                self._timer.cancel()
            if self._relay.longest:
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(self._relay.longest, self.abandon)

    def _attend(self) -> None:
        self.seen = time.monotonic()

    def _watch(self) -> None:
        """Give up a request for which nothing has been done for too long."""
        if self.streams:
            return
        left = self._relay.timeout
        if not self.is_held_up:
            left += self.seen - time.monotonic()
        if left > 0:
            self._timer = asyncio.get_running_loop().call_later(left + 0.01, self._watch)
            return
        self._relay.note_late()
        self.seen = time.monotonic() + _LINGER
        if self._answered:
            self.abandon()
        else:
            self._farewell = asyncio.ensure_future(self._give_up())

    async def _give_up(self) -> None:
        await self._say(504, "Gateway Timeout", answering.TOO_SLOW)
        self.abandon()

    async def _say(self, status: int, reason: str, page: bytes) -> None:
        head = (
            f"HTTP/1.1 {status} {reason}\r\nContent-Type: text/html; charset=utf-8\r\n"
            f"Content-Length: {len(page)}\r\nConnection: close\r\n\r\n"
        )
        with contextlib.suppress(OSError):
            self._writer.write(head.encode() + page)
            await self._writer.drain()
