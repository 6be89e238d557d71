"""One worker seen from outside: its channel, its pidfd, and what the supervisor may ask of it.

This is the whole driver contract: start (by the zygote), loaded, drain, kill, and why it ended.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable
from typing import Any, ClassVar

from innkeeper.kernel import processes, sockets
from innkeeper.spec.problem import Problem
from innkeeper.supervisor.attention import Attention

Hear = Callable[["Worker", str, dict[str, Any]], None]
_AT_ONCE = 32  # messages that are heard before others have their turn
_TURN = 0.005  # seconds after which they have it in any case
_PAUSE = 10.0  # times as long as hearing them took is nothing more heard of a worker that goes on
_LAST_WORDS = 0.1  # seconds that it is heard after its end
DRAIN_SLACK = 20.0  # seconds past the time limit of requests after which a draining worker is killed


class Worker:
    """A worker of a site, from its order to its end. Every message of its reaches `hear` by event name.

    Events beside the worker's own: "gone" when its first process has ended.
    """

    attention: ClassVar[Attention] = Attention()  # that all of them together have

    def __init__(self, identity: int, domain: str, channel: socket.socket, hear: Hear) -> None:
        self.identity = identity
        self.domain = domain
        self.tenant = ""
        self.group = domain  # the name of its control group, below the tenant's
        self.pid = 0
        self.port = 0  # of the loopback, for a command
        self.python = ""  # the runtime's, whose environment it needs as long as it lives
        self.socket = ""  # the name of the socket that it listens at
        self.mark = ""  # of what it is made from; "" where an earlier version has not noted it
        self.loaded = 0.0  # when it said that it serves; 0 = not yet
        self.ordered = time.monotonic()
        self.told = False  # whether it is known that a process of its ended, or is about to
        self.excused = False  # whether it was ended for something that the next one need not do as well
        self.may_sever = 0.0  # when it may have further connections severed
        self.problem: Problem | None = None  # why it ends, when that is known
        self.channel = channel
        self._pidfd = -1
        self._deadline: asyncio.TimerHandle | None = None
        self._pause: asyncio.TimerHandle | None = None
        self._hear: Hear | None = hear
        channel.setblocking(False)
        self._listen()

    @property
    def kept_name(self) -> str:
        return f"worker:{self.identity}"

    def attach(self, pid: int, pidfd: int) -> None:
        """Learn which process it is; from here on its end is noticed at once."""
        if self._pidfd >= 0 or self._hear is None:
            os.close(pidfd)
            return
        self.pid, self._pidfd = pid, pidfd
        asyncio.get_running_loop().add_reader(pidfd, self._on_exit)

    @property
    def note(self) -> dict[str, Any]:
        """What a later supervisor has to know of it."""
        return {
            "domain": self.domain,
            "tenant": self.tenant,
            "group": self.group,
            "pid": self.pid,
            "port": self.port,
            "python": self.python,
            "socket": self.socket,
            "mark": self.mark,
        }

    def ask(self, word: str, descriptors: list[int] | None = None) -> None:
        """Send an order (see worker/first.py); "logs" has the files that are to be written from now on."""
        try:
            sockets.send(self.channel, {"do": word}, descriptors)
        except OSError:
            self._signal_end()

    def drain(self, seconds: float) -> None:
        """Have it accept nothing more, finish what it has and end; kill it after so many seconds."""
        self.ask("drain")
        self.end_within(seconds)

    def kill(self, *, excused: bool = True) -> None:
        """End it and all in its sandbox now. That is no crash; but unless excused, it counts as one."""
        self.told, self.excused = True, excused
        self._signal_end()

    def _signal_end(self) -> None:
        if self._pidfd >= 0:
            processes.signal_by_pidfd(self._pidfd, signal.SIGKILL)
        else:
            self.abandon()

    def end_within(self, seconds: float) -> None:
        """Kill it then, if it has not ended by itself."""
        if self._hear is not None and self._deadline is None:
            self._deadline = asyncio.get_running_loop().call_later(seconds, self.kill)

    def redirect(self, hear: Hear) -> None:
        """Have its further messages heard by another."""
        if self._hear is not None:
            self._hear = hear

    def repeat(self, event: str, message: dict[str, Any]) -> None:
        """Have a message of its heard by who hears it now, unless it is gone."""
        if self._hear is not None:
            self._hear(self, event, message)

    def forsake(self) -> None:
        """It could not even be ordered: nobody is to hear of it."""
        self._hear = None
        self._hang_up()

    def abandon(self) -> None:
        """Give up an order that was not obeyed: no process comes of it, or one that is ended at once."""
        self._end()

    def _listen(self) -> None:
        self._pause = None
        asyncio.get_running_loop().add_reader(self.channel.fileno(), self._on_message)

    def _on_message(self) -> None:
        """Hear what it says. An app may have a hand in that: who does not stop is heard a tenth of the time."""
        began, took, more = time.monotonic(), 0.0, True
        for _ in range(_AT_ONCE):
            more = self._hear_one()
            took = time.monotonic() - began
            if not more or took > _TURN:
                break
        wait = max(self.attention.spend(self.tenant, took), _PAUSE * took if more else 0.0)
        if wait and self._hear is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self.channel.fileno())
            self._pause = loop.call_later(wait, self._listen)

    def _hear_one(self) -> bool:
        """One message; whether there may be another."""
        if self._hear is None:
            return False
        try:
            received = sockets.receive(self.channel)
        except BlockingIOError:
            return False
        except ValueError:  # what an app may have made it say
            return True
        except OSError:
            received = None
        if received is None:
            asyncio.get_running_loop().remove_reader(self.channel.fileno())
            if self._pidfd < 0:
                self._end()
            return False
        event = received[0].get("event")
        if isinstance(event, str):
            self._hear(self, event, received[0])
        return self._hear is not None

    def _on_exit(self) -> None:
        end = time.monotonic() + _LAST_WORDS
        while self._hear_one() and time.monotonic() < end:
            pass
        self._end()

    def _hang_up(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        asyncio.get_running_loop().remove_reader(self.channel.fileno())
        self.channel.close()

    def _end(self) -> None:
        hear, self._hear = self._hear, None
        if hear is None:
            return
        if self._deadline is not None:
            self._deadline.cancel()
        self._hang_up()
        if self._pidfd >= 0:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1  # the number is soon another's: who asks for its end later must not hit that one
        hear(self, "gone", {})
