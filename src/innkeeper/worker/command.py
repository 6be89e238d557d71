"""A serving process: a command of the tenant's, with a relay before it that holds the site's listening socket.

A command binds a socket of its own, says to nobody when it listens, and knows nothing of handing over. So the
relay accepts for it: it holds the connection that woke the site until the command listens, passes bytes both
ways, knows what is in flight, and ends the command when nothing is. Each worker's command has its own socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from typing import Any, Callable, Optional, Set, Tuple, Union

try:
    import uvloop
except ImportError:  # it is not made for every Python
    uvloop = None

from innkeeper.kernel import processes, sockets
from innkeeper.worker import answering
from innkeeper.worker.requests import Attended
from innkeeper.worker.serving import CommandEnded, Server

Address = Union[str, Tuple[str, int]]

_BACKLOG = 4096  # as the supervisor has set it
_LOOK = 0.004  # seconds between looks whether the command listens yet
_CHUNK = 65536
_AHEAD = 1 << 20  # bytes of an answer that are taken from the command before the visitor has taken them
_LONGEST_HEAD = 128 << 10
_FAREWELL = 5.0  # seconds that streams and WebSockets have to end once the command was told to
_LAST_WORDS = 8.0  # seconds that the command may take to end
_LINGER = 5.0  # seconds that what is left of a request is read after the answer
_SHELLS = ("sh", "dash", "bash", "ash", "busybox", "ksh", "zsh")
_STREAM = re.compile(
    rb"HTTP/1\.[01] 101 |.*\r\ncontent-type:[ \t]*text/event-stream", re.IGNORECASE | re.DOTALL
)
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)[ \t]*\r\n", re.IGNORECASE)


class CommandServer(Server):
    """The relay before one command."""

    program = "command"

    def run(self) -> None:
        self.speak()
        self.stand()
        processes.be_prompt()  # so is the command, which we can't tell later
        self.limit_files()
        loop: Any = uvloop.new_event_loop() if uvloop else asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        command = Command(self._order.entry, self._order.identity, self._order.port, self._given.stderr)
        try:
            address = await command.listening()
        except CommandEnded as error:
            self.fail(error)
        relay = Relay(self._order.body, self._order.timeout, self._order.longest, address, self._tell_late)
        listener = socket.socket(fileno=self._given.listener)
        server = await asyncio.start_unix_server(relay.accept, sock=listener, limit=_CHUNK, backlog=_BACKLOG)
        stopped = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, stopped.set)
        self.become_ready(
            Attended(listener.fileno(), relay.oldest),
            relay.finished,
            finish=lambda: loop.call_soon_threadsafe(stopped.set),
            on_gate=lambda: loop.call_soon_threadsafe(relay.take_leave, command.end),
        )
        ended = asyncio.ensure_future(command.ended())
        await asyncio.wait(
            [ended, asyncio.ensure_future(stopped.wait())], return_when=asyncio.FIRST_COMPLETED
        )
        if not stopped.is_set() and not relay.leaving:
            await asyncio.sleep(0)  # what it has answered goes out
            os.write(2, f"the command has ended: {processes.describe_exit(await ended)}\n".encode())
            command.clear_up()
            os._exit(1)
        command.end()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(_wind_up(ended, command, relay), _LAST_WORDS)
        command.kill()
        del server
        os._exit(0)

    def _tell_late(self) -> None:
        sockets.send(self._link, {"event": "late"})


async def _wind_up(ended: asyncio.Future[int], command: Command, relay: Relay) -> None:
    """The command was told to end: all that belongs to it does, and what it has said before goes out."""
    await ended
    await command.rest_ended()
    await relay.emptied()


class Command:
    """The tenant's own program: started, listening, told to end."""

    def __init__(self, text: str, identity: int, port: int, stderr: int) -> None:
        self._socket = f"/dev/shm/innkeeper-{identity}.sock"
        self._port = port
        self._told_to_end = False
        environment = {**os.environ, "DOMAIN_SOCKET": self._socket, "PORT": str(port)}
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", text],
            stdin=subprocess.DEVNULL,
            stdout=1,
            stderr=stderr,
            env=environment,
            start_new_session=True,
            preexec_fn=_be_child,  # noqa: PLW1509 - there are no threads yet
        )
        self._pidfd = os.pidfd_open(self._process.pid)

    async def listening(self) -> Address:
        """Wait until it accepts connections, and say where. CommandEnded when it ends instead."""
        while True:
            for address in (self._socket, ("127.0.0.1", self._port), ("::1", self._port)):
                if await _accepts(address):
                    return address
            status = self._process.poll()
            if status is not None:
                raise CommandEnded(
                    f"the command ended before it listened on $DOMAIN_SOCKET or $PORT: {_ending(status)}"
                )
            await asyncio.sleep(_LOOK)

    async def ended(self) -> int:
        """Its wait status, when it has ended."""
        loop = asyncio.get_running_loop()
        over = asyncio.Event()
        loop.add_reader(self._pidfd, over.set)
        await over.wait()
        loop.remove_reader(self._pidfd)
        status = self._process.wait()
        return -status if status < 0 else status << 8

    def end(self) -> None:
        """Ask it to end, once. A server with processes of its own ends those itself, when they are done; a shell
        leaves them behind, so all are asked."""
        if self._told_to_end:
            return
        self._told_to_end = True
        if _is_shell(self._process.pid):
            self._signal_all(signal.SIGTERM)
        else:
            processes.signal_by_pidfd(self._pidfd, signal.SIGTERM)

    async def rest_ended(self) -> None:
        """Ask what it has left behind to end, and wait until that has."""
        is_left = self._signal_all(signal.SIGTERM)
        while is_left:
            await asyncio.sleep(_LOOK)
            is_left = self._signal_all(0)

    def kill(self) -> None:
        self._signal_all(signal.SIGKILL)
        self.clear_up()

    def _signal_all(self, number: int) -> bool:
        """Whether there was anybody to signal."""
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    def clear_up(self) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self._socket)


class Relay:
    """All conversations between visitors and the command."""

    def __init__(
        self,
        largest_body: int,
        timeout: float,
        longest: float,
        address: Address,
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

    def finished(self) -> int:
        """How many conversations have come to their end."""
        return self._finished

    def oldest(self) -> float:
        """When the most neglected request was last seen to; now when none waits."""
        now = time.monotonic()
        return min((one.seen for one in list(self._open) if not one.streams), default=now)

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
        return await _connect(self._address)

    def note_late(self) -> None:
        self._on_late()

    async def emptied(self) -> None:
        """Wait until every conversation has come to its end."""
        while self._open:
            await asyncio.sleep(_LOOK)

    def take_leave(self, end_command: Callable[[], None]) -> None:
        """Nothing more is accepted. Once all plain requests are answered, streams and WebSockets are ended."""
        self.leaving = True
        self._parting = asyncio.ensure_future(self._part(end_command))

    async def _part(self, end_command: Callable[[], None]) -> None:
        while any(not one.streams for one in self._open):
            await asyncio.sleep(_LOOK)
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
            return
        self._command = await self._relay.connect()
        self._watch()
        asking = asyncio.ensure_future(self._ask(self._command, head))
        try:
            await self._answer(self._command)
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

    def abandon(self) -> None:
        """End it, whatever it is at."""
        if self._command is not None:
            with contextlib.suppress(OSError):
                self._command.shutdown(socket.SHUT_RDWR)

    async def _read_head(self) -> bytes:
        head = b""
        while b"\r\n\r\n" not in head and len(head) < _LONGEST_HEAD:
            piece = await self._reader.read(_CHUNK)
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
            piece = await self._reader.read(_CHUNK)
        if not self._writer.transport.is_closing():
            self.abandon()  # the visitor has gone

    async def _answer(self, command: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        head: Optional[bytes] = b""
        while True:
            try:
                piece = await loop.sock_recv(command, _CHUNK)
            except ConnectionResetError:
                if not self._answered:
                    raise
                return  # it has closed without reading all of the body; what it had said came before
            if not piece:
                return
            self._attend()
            self._answered = True
            if head is not None:
                head += piece
                if b"\r\n\r\n" in head or len(head) > _LONGEST_HEAD:
                    self._note_kind(head.partition(b"\r\n\r\n")[0])
                    head = None
            self._writer.write(piece)
            await self._writer.drain()

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
        left = self.seen + self._relay.timeout - time.monotonic()
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


async def _accepts(address: Address) -> bool:
    """Whether somebody accepts connections there."""
    if not (os.path.exists(address) if isinstance(address, str) else address[1]):
        return False
    try:
        (await _connect(address)).close()
    except OSError:
        return False
    return True


async def _connect(address: Address) -> socket.socket:
    if isinstance(address, str):
        connection = socket.socket(socket.AF_UNIX)
    else:
        connection = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(connection, address)
    except BaseException:
        connection.close()
        raise
    return connection


def _is_shell(pid: int) -> bool:
    """Whether a process runs a shell, or can't be looked at."""
    try:
        return os.path.basename(os.readlink(f"/proc/{pid}/exe")) in _SHELLS
    except OSError:
        return True


def _be_child() -> None:
    processes.die_with_parent()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _ending(status: int) -> str:
    return processes.describe_exit(-status if status < 0 else status << 8)
