"""The keeper: holds the sockets, starts and restarts the supervisor and nginx, reaps.

It is the one process of a node that must not fail, so it does next to nothing: no parsing of site files, no
asyncio, no libraries. Whatever the supervisor wants to outlive it is given to the keeper's `Store`.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any

from innkeeper.kernel import processes, sockets

STOP_PATIENCE = 8.0  # seconds for requests in flight to end when the node is stopped
_OPEN_LIMIT = 60.0  # seconds until visitors are let in although not all sites may be in place yet
_RESTART_WAITS = (0.0, 0.1, 0.5, 1.0, 2.0, 5.0)  # seconds before the nth restart in a row
_STEADY = 5.0  # seconds after which a child counts as well, and its next restart is at once


class Store:
    """Descriptors by name, each with a note: what a supervisor leaves to its successor."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[list[int], dict[str, Any]]] = {}

    def handle(self, message: dict[str, Any], descriptors: list[int], channel: socket.socket) -> None:
        if "keep" in message:
            self._drop(message["keep"])
            self._kept[message["keep"]] = (descriptors, message["note"])
        elif "of" in message and message["of"] in self._kept:
            self._kept[message["of"]] = (self._kept[message["of"]][0], message["note"])
        elif "drop" in message:
            self._drop(message["drop"])
        elif "recover" in message:
            for name, (held, note) in self._kept.items():
                sockets.send(channel, {"kept": name, "note": note}, held)
            sockets.send(channel, {"kept": None})

    def _drop(self, name: str) -> None:
        for descriptor in self._kept.pop(name, ([], {}))[0]:
            os.close(descriptor)


class Ward:
    """A child that is to be there as long as the node is: started, and started again when it ends."""

    def __init__(self, name: str, start: Callable[[], subprocess.Popen[bytes]]) -> None:
        self.name = name
        self._start = start
        self._failures = 0
        self._started = 0.0
        self.due = time.monotonic()  # when it is to be started; 0 = it runs
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = self._start()
        self._started = time.monotonic()
        self.due = 0.0

    def failed(self, error: Exception) -> str:
        """Note that it could not be started; says when that is tried again."""
        self._failures += 1
        return f"{self.name} could not be started ({error}); {self._put_off()}"

    def ended(self, status: int) -> str:
        """Note its end; says when it comes back."""
        self._failures = 0 if time.monotonic() - self._started > _STEADY else self._failures + 1
        if self.process is not None:
            self.process.returncode = status  # reaped here, not by subprocess
            self.process = None
        return f"{self.name} ended ({processes.describe_exit(status)}); {self._put_off()}"

    def _put_off(self) -> str:
        wait = _RESTART_WAITS[min(self._failures, len(_RESTART_WAITS) - 1)]
        self.due = time.monotonic() + wait
        return f"starting it again in {wait:g} s"


class Keeper:
    """The loop of `innkeeper up`."""

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        start_supervisor: Callable[[socket.socket], subprocess.Popen[bytes]],
        start_edge: Callable[[], subprocess.Popen[bytes]],
        edge_user: int,
        log: Callable[[str], None],
        on_ready: Callable[[], None],
    ) -> None:
        self._listeners = listeners  # connections wait in them while nginx is not there
        self._start_supervisor = start_supervisor
        self._log = log
        self._on_ready = on_ready
        self._store = Store()
        self._channel: socket.socket | None = None
        self._supervisor = Ward("supervisor", self._launch_supervisor)
        self._edge = Ward("nginx", start_edge)
        self._edge_user = edge_user
        self._edge.due += _OPEN_LIMIT
        self._stopping = False
        self._announced = False
        self._poll = select.poll()
        self._wakeup, self._wakeup_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self) -> int:
        """Keep the node up until SIGTERM, or until the terminal asks for its end or goes; the exit status."""
        processes.adopt_orphans()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup leaves it
                signal.signal(number, self._on_stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wakeup_writer, warn_on_full_buffer=False)
        self._poll.register(self._wakeup, select.POLLIN)
        while not self._stopping:
            for ward in (self._supervisor, self._edge):
                if ward.due and time.monotonic() >= ward.due:
                    self._start(ward)
            for descriptor, _ in self._poll.poll(self._patience()):
                if descriptor == self._wakeup:
                    os.read(self._wakeup, 4096)
                else:
                    self._listen()
            self._reap()
        self._stop()
        return 0

    def _start(self, ward: Ward) -> None:
        try:
            ward.start()
        except (OSError, subprocess.SubprocessError) as error:  # no process to be had: all that runs goes on
            self._log(ward.failed(error))

    def _patience(self) -> int:
        due = [ward.due for ward in (self._supervisor, self._edge) if ward.due]
        return max(0, int((min(due) - time.monotonic()) * 1000) + 1) if due else -1

    def _on_stop(self, *_: object) -> None:
        self._stopping = True

    def _launch_supervisor(self) -> subprocess.Popen[bytes]:
        self._forget_channel()
        ours, theirs = sockets.pair()
        self._channel = ours
        self._poll.register(ours, select.POLLIN)
        with theirs:
            return self._start_supervisor(theirs)

    def _forget_channel(self) -> None:
        if self._channel is not None:
            self._poll.unregister(self._channel)
            self._channel.close()
            self._channel = None

    def _listen(self) -> None:
        """One message of the supervisor's. What a dying one had sent is still read to its end."""
        if self._channel is None:
            return
        try:
            received = sockets.receive(self._channel, sockets.MAX_DESCRIPTORS)
        except ValueError as error:
            self._log(f"a message of the supervisor's can't be read: {error}")
            return
        except OSError:
            received = None
        if received is None:
            self._forget_channel()
            return
        message, descriptors = received
        word = message.get("say")
        if word == "published":
            self._open()
        elif word == "ready" and not self._announced:
            self._announced = True
            self._on_ready()
        if word:
            return
        try:
            self._store.handle(message, descriptors, self._channel)
        except OSError:
            self._forget_channel()

    def _open(self) -> None:
        """Let visitors in. Before all sites are in place they would be told that there are none; so they wait."""
        if self._edge.due:
            self._edge.due = time.monotonic()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for ward in (self._supervisor, self._edge):
                if ward.process is not None and ward.process.pid == pid:
                    if ward is self._supervisor:
                        self._read_last_words()
                        self._open()  # what is in place can be served without it
                    else:
                        self._dismiss_left()
                    self._log(ward.ended(status))

    def _dismiss_left(self) -> None:
        """nginx's workers outlive a killed master, and would go on accepting: let them finish, and accept no more."""
        for pid in processes.children_of(os.getpid()):
            if processes.user_of(pid) == self._edge_user:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGQUIT)

    def _read_last_words(self) -> None:
        """What it had given into keeping before it ended counts; never wait for more."""
        while self._channel is not None and select.select([self._channel], [], [], 0)[0]:
            self._listen()

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────

    def _stop(self) -> None:
        """Let requests in flight end, then end every process of the node."""
        self._log("stopping")
        end = time.monotonic() + STOP_PATIENCE
        for listener in self._listeners:  # who comes after nginx's end does not wait in vain
            listener.close()
        self._end_ward(self._edge, signal.SIGQUIT, end)
        self._end_ward(self._supervisor, signal.SIGTERM, end + 2.0)
        self._forget_channel()
        while processes.children_of(os.getpid()):
            for pid in processes.children_of(os.getpid()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            try:
                os.wait()
            except ChildProcessError:
                return

    def _end_ward(self, ward: Ward, number: signal.Signals, end: float) -> None:
        if ward.process is None:
            return
        ward.process.send_signal(number)
        while time.monotonic() < end:
            if ward is self._supervisor and self._channel is not None:
                for _ in select.select([self._channel], [], [], 0)[0]:
                    self._listen()
            if ward.process.poll() is not None:  # it may have ended already, told by whoever told us
                return
            time.sleep(0.02)
        ward.process.kill()
        ward.process.wait()
