"""The supervisor's side of the zygotes: starting one per runtime, and sending it orders."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import innkeeper
from innkeeper.kernel import sockets
from innkeeper.spec.node import Layout
from innkeeper.spec.runtime import RuntimeSpec
from innkeeper.supervisor.custody import Custody
from innkeeper.worker.order import Descriptors, Order
from innkeeper.zygote import launch

SOURCE = str(Path(innkeeper.__file__).parents[1])
Forked = Callable[[int, int, int], None]  # identity of the order, pid, pidfd
Refused = Callable[[int, str], None]  # identity of the order, reason
_RETRY_WAIT = 1.0
_RESEND_WAIT = 0.05  # seconds after which a zygote that has too many orders to read is sent another


class Zygote:
    """One fork server of a runtime, started when first needed and again whenever it ends.

    Orders that come while it starts wait for it. `on_refused` is called for an order that it can't fulfil.
    """

    def __init__(
        self,
        runtime: RuntimeSpec,
        layout: Layout,
        custody: Custody,
        *,
        walled: bool,
        bare: bool,
        generation: int,
        wanted: tuple[str, ...],
        on_ready: Callable[[Zygote], None],
        on_forked: Forked,
        on_refused: Refused,
        doors: Callable[[], list[int]],
        log: Callable[[str], None],
    ) -> None:
        self.runtime = runtime
        self.ready = False
        self.bare = bare  # without any packages
        self.generation = generation  # tells it from those before it
        self.wanted = wanted  # what to preload, beside what the operator has named
        self.started = time.monotonic()
        self.python = ""  # its version, as soon as it has told that
        self.preloaded: list[str] = []
        self.left_out: dict[str, str] = {}
        self.memory = 0  # bytes that the preloaded modules take
        self.reads: frozenset[str] = frozenset()  # variables that decide what the preloaded modules are like
        self.pid = 0
        self._layout = layout
        self._custody = custody
        self._walled = walled
        self._ready_heard = on_ready
        self._on_forked = on_forked
        self._on_refused = on_refused
        self._doors = doors  # of the control group it is to enter
        self._log = log
        self._channel: socket.socket | None = None
        self._waiting: dict[int, tuple[Order, list[int]]] = {}  # by the order's identity
        self._unanswered: set[int] = set()  # identities of the orders that were sent
        self._retiring = False
        self._restart: asyncio.TimerHandle | None = None

    @property
    def kept_name(self) -> str:
        return f"zygote:{self.runtime.name}:{'bare' if self.bare else 'shared'}:{self.generation}"

    def start(self) -> None:
        """Start the process, unless it is there."""
        if self._channel is not None:
            return
        try:
            channel, pid = self._launch()
        except OSError as error:
            self._log(f"runtime {self.runtime.name}: no zygote can be started: {error}")
            self._start_soon()
            return
        self._custody.keep(self.kept_name, [channel.fileno()], self._note(pid))
        self._take(channel, pid)

    def _launch(self) -> tuple[socket.socket, int]:
        """Our end of a new process's channel, and its pid. Raises OSError."""
        ours, theirs = sockets.pair()
        passed = [theirs.detach()]
        try:
            doors = self._doors()
            passed += doors
            passed.append(launch.written_down(self._settings(passed[0], doors)))
            process = subprocess.Popen(
                [sys.executable, launch.__file__, str(passed[-1])],
                pass_fds=passed,
                stdin=subprocess.DEVNULL,
                env={"PATH": os.defpath, "PYTHONPATH": SOURCE, "LANG": "C.UTF-8"},
            )
        except OSError:
            ours.close()
            raise
        finally:
            for descriptor in passed:
                os.close(descriptor)
        process.returncode = 0  # reaped by the kernel (SIGCHLD is ignored); its end shows on the channel
        return ours, process.pid

    def adopt(self, channel: socket.socket, note: dict[str, Any]) -> None:
        """Go on with a zygote that an earlier supervisor started."""
        self._take(channel, note["pid"])
        self.wanted = tuple(note["wanted"])
        if note["ready"]:
            self._on_ready(note)

    def order(self, order: Order, descriptors: Descriptors) -> None:
        """Have a worker forked. The descriptors are copied; the caller may close its own at once.

        Raises OSError; the order may be there all the same until it is withdrawn.
        """
        if self.ready and self._channel is not None:
            try:
                sockets.send(self._channel, order.to_message(), descriptors.row())
                self._unanswered.add(order.identity)
                return
            except BlockingIOError:  # it has many already
                asyncio.get_running_loop().call_later(_RESEND_WAIT, self._send_waiting)
            except OSError as error:
                self._log(f"runtime {self.runtime.name}: the zygote did not take an order: {error}")
        copies: list[int] = []
        self._waiting[order.identity] = order, copies
        copies.extend(map(os.dup, descriptors.row()))  # as far as it comes
        self.start()

    def withdraw(self, identity: int) -> None:
        """Forget an order, if it waits here."""
        _, descriptors = self._waiting.pop(identity, (None, []))
        for descriptor in descriptors:
            os.close(descriptor)

    def give_way(self, successor: Zygote) -> None:
        """Pass on the orders that wait here, and end."""
        waiting, self._waiting = self._waiting, {}
        successor.place(waiting.values())
        self.stop()

    def place(self, orders: Iterable[tuple[Order, list[int]]]) -> None:
        """Take orders whose descriptors are ours from here on."""
        for order, descriptors in orders:
            self.order(order, Descriptors.of(descriptors))
            for descriptor in descriptors:
                os.close(descriptor)

    def stop(self) -> None:
        """Let it end for good as soon as the orders that were sent are answered; those that wait are refused.

        Its workers are not touched.
        """
        self._retiring = True
        for identity in list(self._waiting):
            self.withdraw(identity)
            self._on_refused(identity, f"the zygote of {self.runtime.name} is gone")
        if not self._unanswered:
            self._let_go()

    def _let_go(self) -> None:
        if self._restart is not None:
            self._restart.cancel()
            self._restart = None
        if self._channel is not None:
            asyncio.get_running_loop().remove_reader(self._channel.fileno())
            self._channel.close()
            self._channel = None
            self.ready = False
            self._custody.drop(self.kept_name)

    def _settings(self, channel: int, doors: list[int]) -> dict[str, Any]:
        runtime, layout = self.runtime, self._layout
        settings: dict[str, Any] = {
            "walled": self._walled,
            "channel": channel,
            "doors": doors,
            "python": runtime.python,
            "source": SOURCE,
            "tenants": str(layout.tenants_data),
            "logs": str(layout.logs),
            "bare": self.bare,
            "preload": [] if self.bare else list(runtime.preload),
            "wanted": [] if self.bare else list(self.wanted),
        }
        if self._walled:
            layout.stage.mkdir(mode=0o700, exist_ok=True)
            settings["template"] = {
                "stage": str(layout.stage),
                "runtime_name": runtime.name,
                "runtime": str(Path(runtime.python).parents[1]),
                **{key: settings[key] for key in ("source", "tenants", "logs")},
            }
        return settings

    def _take(self, channel: socket.socket, pid: int) -> None:
        self._channel, self.pid = channel, pid
        channel.setblocking(False)
        asyncio.get_running_loop().add_reader(channel.fileno(), self._on_message)

    def _on_message(self) -> None:
        while self._channel is not None:
            try:
                received = sockets.receive(self._channel, 1)
            except BlockingIOError:
                return
            except OSError:
                received = None
            if received is None:
                self._on_end()
                return
            self._handle(*received)

    def _handle(self, message: dict[str, Any], descriptors: list[int]) -> None:
        if "forked" in message:
            self._unanswered.discard(message["forked"])
            self._on_forked(message["forked"], message["pid"], descriptors[0])
        elif "refused" in message:
            self._unanswered.discard(message["refused"])
            self._on_refused(message["refused"], message["reason"])
        elif "ready" in message:
            self._custody.note(self.kept_name, {**message, **self._note(self.pid), "ready": True})
            for name, reason in message["left_out"].items():
                if name in self.runtime.preload:
                    self._log(f"runtime {self.runtime.name}: {name} is not preloaded: {reason}")
            self._on_ready(message)
        if self._retiring and not self._unanswered:
            self._let_go()

    def _note(self, pid: int) -> dict[str, Any]:
        """What a later supervisor has to know of it."""
        return {"ready": False, "pid": pid, "of": self.runtime.python, "wanted": self.wanted}

    def _on_ready(self, told: dict[str, Any]) -> None:
        self.ready, self.python, self.left_out = True, told["python"], told["left_out"]
        self.preloaded, self.memory = told["preloaded"], told["memory"]
        self.reads = frozenset(told["reads"])
        self._ready_heard(self)
        self._send_waiting()

    def _send_waiting(self) -> None:
        if self.ready:
            waiting, self._waiting = self._waiting, {}
            self.place(waiting.values())

    def _on_end(self) -> None:
        """It died. Start it anew at once when orders wait, else soon; a broken runtime is not hammered."""
        was_ready = self.ready
        self._let_go()
        self._unanswered.clear()
        if self._retiring:
            return
        self._log(f"runtime {self.runtime.name}: the zygote ended")
        if was_ready:
            self.start()
        else:
            self._start_soon()

    def _start_soon(self) -> None:
        if self._restart is not None:
            self._restart.cancel()
        self._restart = asyncio.get_running_loop().call_later(_RETRY_WAIT, self.start)
