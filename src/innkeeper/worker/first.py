"""The first process of a worker: watches over the serving processes, starts further ones, answers to the supervisor.

It is process 1 of the sandbox, so all else in there ends with it. It runs none of the tenant's code, but as
the tenant's user: what it tells the supervisor is believed about its own site only. It begins in C (kernel/first.c)
and is here as soon as there is something to decide.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import time
from typing import Any, Callable, Dict, List, Optional

from innkeeper.kernel import processes, sharing, sockets
from innkeeper.kernel.mold import Begun
from innkeeper.worker.children import SILENCE, Child, Children
from innkeeper.worker.logs import Log
from innkeeper.worker.order import Descriptors, Order
from innkeeper.worker.places import Places
from innkeeper.worker.touch import Touch

Serve = Callable[[Order, Places, Descriptors, socket.socket], None]

DRAIN_GRACE = 10.0  # seconds past a request's time limit after which a draining process is killed
_HOG_QUIET = 10.0  # seconds until it is told again that a process is out of files
_FAILURE = ("summary", "traceback", "virtualenv")  # what the supervisor is told of a failed start
_PASSED_ON = ("late", "imported", "severed")  # what the supervisor is told as it was said
_TIDY_WAIT = 6.0  # seconds after the start until memory is given back: the visitor goes first
_RESPAWN_WAIT = 0.5  # seconds before a process that is missing is replaced while others serve


class First:
    """The loop of the first process. It ends when no serving process is left and none is to come.

    After a failed load it stays, with nothing to serve, as the watch over the file that is to be mended.
    """

    def __init__(
        self,
        order: Order,
        places: Places,
        begun: Begun,
        serve: Serve,
    ) -> None:
        given = Descriptors.of(list(begun.given))
        self._order = order
        self._places = places
        self._given = given
        self._serve = serve
        self._channel = socket.socket(fileno=given.channel)
        self._logs = (
            Log("server", given.stdout, order.log, *begun.pipes[:2], begun.pumped[0]),
            Log("error", given.stderr, order.log, *begun.pipes[2:], begun.pumped[1]),
        )
        self._hogged = 0.0  # when it was last told that a process is out of files
        self._children = Children()
        self._child = self._children.adopt(*begun.serving)
        self._begun = begun
        self._ready = self._draining = self._failed = self._resting = False
        self._asked = bool(begun.asked)  # when the app was last used: an answer is due
        self._deadline = 0.0  # when draining ends by force
        self._respawn_at = 0.0
        self._tidy_at = 0.0  # when memory is given back
        self._table = begun.table
        self._poll = select.poll()
        self._wakeup, self._wakeup_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self) -> int:
        """Serve until drained, failed or crashed; the exit status of the worker."""
        self._touch = Touch(self._begun.touch)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wakeup_writer, warn_on_full_buffer=False)
        logs = (log.reader for log in self._logs)
        links = (child.link.fileno() for child in self._children)
        for descriptor in (self._channel.fileno(), self._wakeup, self._touch.fileno(), *logs, *links):
            self._poll.register(descriptor, select.POLLIN)
        self._go_on_from(self._begun)
        self._bury()
        while len(self._children) or self._respawn_at or (self._failed and not self._draining):
            for descriptor, _ in self._poll.poll(self._patience()):
                self._handle(descriptor)
            self._keep_time()
        for log in self._logs:
            log.finish()
        return 0 if self._draining else 1

    def _go_on_from(self, begun: Begun) -> None:
        """Know what was seen to in C."""
        child = self._child
        child.heard, child.used = begun.heard, begun.used
        if begun.loaded:
            told = json.loads(begun.loaded)
            self._on_loaded(child, told.get("watched"), told.get("mark"), told=begun.touch >= 0)

    def _handle(self, descriptor: int) -> None:
        if descriptor == self._channel.fileno():
            self._obey()
        elif descriptor == self._wakeup:
            os.read(self._wakeup, 4096)
            self._bury()
        elif descriptor == self._touch.fileno():
            self._touch.read()
        elif log := next((log for log in self._logs if log.reader == descriptor), None):
            self._pump(log)
        else:
            child = self._children.by_link(descriptor)
            if child is not None:
                self._hear(child)

    # ── the supervisor's words ───────────────────────────────────────────────────────────────────────────

    def _obey(self) -> None:
        try:
            received = sockets.receive(self._channel, len(self._logs))
        except (OSError, ValueError):
            received = None
        if received is None:  # keeper and supervisor are both gone
            self._poll.unregister(self._channel.fileno())
            self._drain()
            return
        word = received[0].get("do")
        if word == "drain":
            self._drain()
        elif word == "report":
            told = {"ready": self._ready, "draining": self._draining, "failed": self._failed}
            self._tell("report", **told, resting=self._resting)
        elif word == "look":
            self._look()
        elif word == "rest":
            self._rest()
        elif word == "go":
            self._go_on()
        elif word == "logs":  # the files were set aside; here are new ones
            for log, file in zip(self._logs, received[1]):
                log.replace(file)
        elif word == "proceed":  # the site is marked as slow: the visitor will see why
            for child in self._children:
                child.doomed = child.doomed and time.monotonic()

    def _look(self) -> None:
        """Ask the processes when they last had a request; the first of them that answers is passed on."""
        self._asked = True
        for child in self._children:
            child.order("look")

    def _rest(self) -> None:
        """Stop all of the sandbox's processes but this one. Whether that was a good moment is seen from outside."""
        if self._ready and not self._draining and len(self._children):
            self._resting = True
            os.kill(-1, signal.SIGSTOP)
            self._tell("resting")

    def _go_on(self) -> None:
        if self._resting:
            self._resting = False
            os.kill(-1, signal.SIGCONT)
            now = time.monotonic()
            for child in self._children:
                child.heard = child.used = now

    def _unused(self) -> float:
        """Seconds since any of the processes had a request, as far as they have told."""
        return time.monotonic() - max((child.used for child in self._children), default=0.0)

    def _drain(self) -> None:
        if self._draining:
            return
        self._go_on()
        self._draining = True
        self._respawn_at = 0.0
        self._deadline = time.monotonic() + self._order.timeout + DRAIN_GRACE
        for child in self._children:
            if child.loaded:
                child.order("drain")
            else:
                child.kill()

    def _tell(self, event: str, **detail: Any) -> None:
        with contextlib.suppress(OSError):  # the supervisor is being replaced; the next one asks for a report
            sockets.send(self._channel, {"event": event, **detail})

    # ── the children's words ─────────────────────────────────────────────────────────────────────────────

    def _hear(self, child: Child) -> None:
        for message in child.messages():
            event = message.get("event")
            if event == "beat":
                self._on_beat(child, bool(message.get("idle")), float(message.get("unused", 0.0)))
            elif event == "loaded":
                self._on_loaded(child, message.get("watched"), message.get("mark"))
            elif event == "failed":
                self._on_failed(message)
            elif event == "unfit" and not self._ready:
                self._draining = True  # another one is ordered in our place
                self._tell("unfit", reason=message.get("reason"), python=message.get("python"))
            elif event == "slow":
                self._on_slow(child, message.get("sockets"))
            elif event in _PASSED_ON:
                self._tell(**message)
            elif event == "files":
                self._on_files(child)
            elif event == "gated":
                child.gated = True
                if all(other.gated for other in self._children):
                    self._tell("gated")

    def _on_beat(self, child: Child, idle: bool, unused: float) -> None:
        child.idle, child.used = idle, child.heard - unused
        if self._asked:
            self._asked = False
            self._tell("used", unused=self._unused())
        if all(other.idle for other in self._children):
            self._tell("idle")

    def _on_loaded(
        self, child: Child, watched: Optional[str], mark: Optional[List[int]], *, told: bool = False
    ) -> None:
        """`told`: the supervisor knows it, and the watch over the file has begun."""
        child.loaded = True
        if self._draining:
            child.order("drain")
        elif not self._ready:
            self._ready = True
            self._tidy_at = time.monotonic() + _TIDY_WAIT
            if told:
                self._touch.go_on(watched, touched=bool(self._begun.touched))
            else:
                self._touch.watch(watched, mark)
                self._tell("loaded")
            self._complete()

    def _on_failed(self, told: Dict[str, Any]) -> None:
        """The app did not load. The first time the start has failed; later it is a crash like any other."""
        if self._ready or self._failed:
            return
        self._failed = True
        entry = self._order.entry
        self._touch.watch(
            self._places.real(self._order.tenant, entry) if entry.startswith("/") else None, told.get("mark")
        )
        self._tell("failed", **{key: told[key] for key in _FAILURE if key in told})

    def _on_slow(self, child: Child, sockets: Any = None) -> None:
        """`sockets`: the inodes of its requests' connections, as far as it could tell."""
        if not child.doomed:
            child.condemn()
            self._tell("slow", sockets=sockets)

    def _on_files(self, child: Child) -> None:
        now = time.monotonic()
        if not self._hogged or now - self._hogged > _HOG_QUIET:
            self._hogged = now
            self._tell("files", process=child.pid)

    def _pump(self, log: Log) -> None:
        """Pass on what the app has printed; a flood waits for a moment, and is told of."""
        if log.pump(time.monotonic()):
            self._tell("flooded", kind=log.kind)
        if log.resume:
            self._poll.unregister(log.reader)
        if log.full:
            self._tell("full", kind=log.kind)

    # ── time and processes ───────────────────────────────────────────────────────────────────────────────

    def _patience(self) -> int:
        """Milliseconds until something is due; -1 when nothing is."""
        due = [at for at in (self._deadline, self._respawn_at, self._tidy_at, self._touch.due) if at]
        due += [log.resume for log in self._logs if log.resume]
        if not self._resting:
            due += [
                child.doomed or child.heard + self._order.timeout + SILENCE
                for child in self._children
                if child.doomed or child.loaded
            ]
        return max(1, int((min(due) - time.monotonic()) * 1000) + 1) if due else -1

    def _keep_time(self) -> None:
        now = time.monotonic()
        for log in self._logs:
            if log.resume and now >= log.resume:
                log.resume = 0.0
                self._poll.register(log.reader, select.POLLIN)
        if self._touch.take(now):
            self._tell("touched")
        if self._respawn_at and now >= self._respawn_at:
            self._respawn_at = 0.0
            self._complete()
        if self._tidy_at and now >= self._tidy_at:
            self._tidy_at = 0.0
            sharing.give_back(self._table)
        for child in () if self._resting else self._children:
            if child.loaded and now - child.heard > self._order.timeout + SILENCE:
                self._on_slow(child)
            if (child.doomed and now >= child.doomed) or (self._deadline and now >= self._deadline):
                child.kill()

    def _lent(self) -> Descriptors:
        """What a serving process is given: of the logs, the ends of our pipes."""
        server, error = self._logs
        return self._given._replace(stdout=server.writer, stderr=error.writer)

    def _complete(self) -> None:
        """Have as many processes as the site is to have, while any is left."""
        try:
            while 0 < len(self._children) < self._order.processes:
                self._spawn()
        except OSError:  # the tenant has as many tasks as it may; those that serve go on
            self._respawn_at = time.monotonic() + _RESPAWN_WAIT

    def _spawn(self) -> None:
        child = self._children.fork()
        if child is not None:
            self._poll.register(child.link, select.POLLIN)
            return
        try:
            self._channel.close()
            self._touch.close()
            if self._table >= 0:
                os.close(self._table)
            os.close(self._wakeup)
            os.close(self._wakeup_writer)
            for log in self._logs:
                log.leave()
            self._serve(self._order, self._places, self._lent(), self._children.ours)
        finally:
            os._exit(70)

    def _bury(self) -> None:
        for child, status in self._children.reap():
            self._hear(child)
            self._poll.unregister(child.link)
            child.link.close()
            if self._draining or self._failed:
                continue
            ending = processes.describe_exit(status)
            if not self._ready:
                self._on_failed({"summary": f"the process ended while it loaded the app: {ending}"})
            else:
                self._tell("crashed", detail=ending, slow=bool(child.doomed))
                if len(self._children):
                    self._respawn_at = time.monotonic() + _RESPAWN_WAIT


def stop_strays() -> None:
    """Without a PID namespace: end every descendant that is left, since nothing else will."""
    for _ in range(50):
        left = processes.children_of(os.getpid())
        if not left:
            return
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue
        for pid in left:
            try:
                os.waitpid(pid, 0)
            except ChildProcessError:
                continue
