"""A serving process: a command of the tenant's, with a relay before it that holds the site's listening socket.

A command binds a socket of its own, says to nobody when it listens, and knows nothing of handing over. So the
relay accepts for it: it holds the connection that woke the site until the command listens, passes bytes both
ways, knows what is in flight, and ends the command when nothing is. Each worker's command has its own socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from typing import Any

try:
    import uvloop
except ImportError:  # it is not made for every Python
    uvloop = None

from innkeeper.kernel import processes, sockets
from innkeeper.worker.program import Program
from innkeeper.worker.relay import CHUNK, Relay
from innkeeper.worker.requests import Attended
from innkeeper.worker.serving import CommandEnded, Server

_LAST_WORDS = 8.0  # seconds that the command may take to end


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
        command = Program(self._order.entry, self._order.identity, self._order.port, self._given.stderr)
        try:
            address = await command.listening()
        except CommandEnded as error:
            self.fail(error)
        relay = Relay(self._order.body, self._order.timeout, self._order.longest, address, self._tell_late)
        listener = socket.socket(fileno=self._given.listener)
        server = await asyncio.start_unix_server(
            relay.accept, sock=listener, limit=CHUNK, backlog=sockets.BACKLOG
        )
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


async def _wind_up(ended: asyncio.Future[int], command: Program, relay: Relay) -> None:
    """The command was told to end: all that belongs to it does, and what it has said before goes out."""
    await ended
    await command.rest_ended()
    await relay.emptied()
