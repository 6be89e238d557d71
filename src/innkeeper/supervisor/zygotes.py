"""The supervisor's side of the zygotes: starting one per runtime, and sending it orders."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
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
        on_forked: Forked,
        on_refused: Refused,
        log: Callable[[str], None],
    ) -> None:
        self.runtime = runtime
        self.ready = False
        self.bare = bare  # without any packages
        self.python = ""  # its version, as soon as it has told that
        self.left_out: dict[str, str] = {}
        self._layout = layout
        self._custody = custody
        self._walled = walled
        self._on_forked = on_forked
        self._on_refused = on_refused
        self._log = log
        self._channel: socket.socket | None = None
        self._waiting: list[tuple[Order, list[int]]] = []
        self._without: set[str] = set()  # modules found out to leave threads behind

    @property
    def kept_name(self) -> str:
        return f"zygote:{self.runtime.name}:{'bare' if self.bare else 'shared'}"

    def start(self) -> None:
        """Start the process, unless it is there."""
        if self._channel is not None:
            return
        ours, theirs = sockets.pair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, launch.__file__, json.dumps(self._settings(theirs.fileno()))],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={"PATH": os.defpath, "PYTHONPATH": SOURCE, "LANG": "C.UTF-8"},
            )
        process.returncode = 0  # reaped by the kernel (SIGCHLD is ignored); its end shows on the channel
        self._custody.keep(self.kept_name, [ours.fileno()], {"ready": False, "pid": process.pid})
        self._take(ours, process.pid)

    def adopt(self, channel: socket.socket, note: dict[str, Any]) -> None:
        """Go on with a zygote that an earlier supervisor started."""
        self._take(channel, note["pid"])
        if note["ready"]:
            self._on_ready(note)

    def order(self, order: Order, descriptors: Descriptors) -> None:
        """Have a worker forked. The descriptors are copied; the caller may close its own at once."""
        if self.ready and self._channel is not None:
            try:
                sockets.send(self._channel, order.to_message(), descriptors.row())
                return
            except OSError as error:
                self._log(f"runtime {self.runtime.name}: the zygote did not take an order: {error}")
        self._waiting.append((order, [os.dup(descriptor) for descriptor in descriptors.row()]))
        self.start()

    def stop(self) -> None:
        """Let it end; its workers are not touched."""
        if self._channel is not None:
            asyncio.get_running_loop().remove_reader(self._channel.fileno())
            self._channel.close()
            self._channel = None
            self.ready = False
            self._custody.drop(self.kept_name)

    def _settings(self, channel: int) -> dict[str, Any]:
        runtime, layout = self.runtime, self._layout
        settings: dict[str, Any] = {
            "walled": self._walled,
            "channel": channel,
            "python": runtime.python,
            "source": SOURCE,
            "tenants": str(layout.tenants_data),
            "logs": str(layout.logs),
            "bare": self.bare,
            "preload": [] if self.bare else [each for each in runtime.preload if each not in self._without],
        }
        if self._walled:
            stage = layout.run / "stage"
            stage.mkdir(mode=0o700, exist_ok=True)
            settings["template"] = {
                "stage": str(stage),
                "runtime_name": runtime.name,
                "runtime": str(Path(runtime.python).parents[1]),
                **{key: settings[key] for key in ("source", "tenants", "logs")},
            }
        return settings

    def _take(self, channel: socket.socket, pid: int) -> None:
        self._channel, self._pid = channel, pid
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
            self._on_forked(message["forked"], message["pid"], descriptors[0])
        elif "refused" in message:
            self._on_refused(message["refused"], message["reason"])
        elif "ready" in message:
            self._custody.note(self.kept_name, {**message, "pid": self._pid})
            self._on_ready(message)
        elif "threaded" in message:
            self._without.add(message["threaded"])
            self._log(
                f"runtime {self.runtime.name}: {message['threaded']} starts a thread when it is imported "
                "and is not preloaded"
            )

    def _on_ready(self, told: dict[str, Any]) -> None:
        self.ready, self.python, self.left_out = True, told["python"], told["left_out"]
        for name, reason in self.left_out.items():
            self._log(f"runtime {self.runtime.name}: {name} is not preloaded: {reason}")
        waiting, self._waiting = self._waiting, []
        for order, descriptors in waiting:
            self.order(order, Descriptors.of(descriptors))
            for descriptor in descriptors:
                os.close(descriptor)

    def _on_end(self) -> None:
        """It died. Start it anew at once when orders wait, else soon; a broken runtime is not hammered."""
        was_ready = self.ready
        self.stop()
        self._log(f"runtime {self.runtime.name}: the zygote ended")
        if was_ready or self._without:
            self.start()
        else:
            asyncio.get_running_loop().call_later(_RETRY_WAIT, self.start)
