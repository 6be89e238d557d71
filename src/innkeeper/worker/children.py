"""The serving processes of one worker: forking them, hearing from them, ending them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from typing import Any, Dict, Iterator, List, Optional, Tuple

from innkeeper.kernel import processes, sockets

STACK_SIGNAL = signal.SIGRTMIN + 10  # makes a serving process write its threads' stacks to error.log
SLOW_ANSWER = 0.5  # seconds the supervisor has to mark a site as slow before we kill
SILENCE = 15.0  # seconds past the time limit that a process may be silent (its watch can't get the GIL)
_STACK_TIME = 0.05


class Child:
    """One serving process: its pid, our link to it and what it last told us."""

    def __init__(self, pid: int, link: socket.socket) -> None:
        self.pid = pid
        self.link = link
        self.loaded = False
        self.gated = False
        self.idle = False
        self.doomed = 0.0  # when it is to be killed for a slow request; 0 = not at all
        self.heard = self.used = time.monotonic()  # when it last spoke, and last had a request
        link.setblocking(False)

    def messages(self) -> Iterator[Dict[str, Any]]:
        """What it has told us since we last looked."""
        while True:
            try:
                received = sockets.receive(self.link)
            except (OSError, ValueError):
                return
            if received is None:
                return
            self.heard = time.monotonic()
            yield received[0]

    def order(self, word: str, descriptors: Optional[List[int]] = None) -> None:
        with contextlib.suppress(OSError):  # it is ending; its exit will be noticed
            sockets.send(self.link, {"do": word}, descriptors)

    def condemn(self) -> None:
        self.doomed = self.doomed or time.monotonic() + SLOW_ANSWER

    def kill(self) -> None:
        """Have it write its stacks to error.log, then end it."""
        try:
            if self.loaded:
                os.kill(self.pid, STACK_SIGNAL)
                time.sleep(_STACK_TIME)
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.doomed = time.monotonic() + 1.0


class Children:
    """All serving processes of a worker, by pid and by the descriptor of their link."""

    def __init__(self) -> None:
        self._by_pid: Dict[int, Child] = {}

    def __len__(self) -> int:
        return len(self._by_pid)

    def __iter__(self) -> Iterator[Child]:
        return iter(list(self._by_pid.values()))

    def by_link(self, descriptor: int) -> Optional[Child]:
        return next((child for child in self if child.link.fileno() == descriptor), None)

    def adopt(self, pid: int, link: int) -> Child:
        """Take over one that was forked already; `link` is a descriptor."""
        child = self._by_pid[pid] = Child(pid, socket.socket(fileno=link))
        return child

    def fork(self) -> Optional[Child]:
        """Fork one more; None is returned in the new process, which keeps only its own link, as `ours`.

        OSError when that can't be done now.
        """
        parents, childs = sockets.pair()
        try:
            pid = os.fork()
        except OSError:
            parents.close()
            childs.close()
            raise
        if pid == 0:
            parents.close()
            for child in self:
                child.link.close()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            processes.die_with_parent()
            self.ours = childs
            return None
        childs.close()
        child = self._by_pid[pid] = Child(pid, parents)
        return child

    def reap(self) -> List[Tuple[Child, int]]:
        """The children that have ended, with their wait status; orphans of the sandbox are reaped too."""
        ended: List[Tuple[Child, int]] = []
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return ended
            if pid == 0:
                return ended
            child = self._by_pid.pop(pid, None)
            if child is not None:
                ended.append((child, status))
