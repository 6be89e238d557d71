"""A terminal lent to somebody who is not trusted with ours: a new one, whose words are passed to and fro."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import termios
import threading
import tty
from collections.abc import Callable
from typing import Any

_CHUNK = 65536
_TICK = 0.2  # seconds between looks whether it has ended


def relay(start: Callable[[list[int]], dict[str, Any]]) -> dict[str, Any]:
    """Call `start` with the new terminal's end as three descriptors; pass all on until it returns. Its result."""
    ours, theirs = pty.openpty()
    _copy_size(0, ours)
    ended: list[Any] = []

    def run() -> None:
        try:
            ended.append(start([theirs, theirs, theirs]))
        except Exception as error:  # raised again in the thread that waits
            ended.append(error)

    thread = threading.Thread(target=run, daemon=True)
    before = termios.tcgetattr(0)
    signal.signal(signal.SIGWINCH, lambda *_: _copy_size(0, ours))
    try:
        tty.setraw(0)
        thread.start()
        _pass_on(ours, thread)
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
        signal.signal(signal.SIGWINCH, signal.SIG_DFL)
        os.close(ours)
        os.close(theirs)
    thread.join()
    if isinstance(ended[0], Exception):
        raise ended[0]
    answer: dict[str, Any] = ended[0]
    return answer


def _pass_on(ours: int, thread: threading.Thread) -> None:
    """Until the thread ends, and all that was said is passed on."""
    sources = [0, ours]
    while True:
        ready, _, _ = select.select(sources, [], [], _TICK)
        if ours in ready:
            _write(1, os.read(ours, _CHUNK))
        elif not thread.is_alive():
            return
        if 0 in ready:
            words = os.read(0, _CHUNK)
            if words:
                _write(ours, words)
            else:
                sources.remove(0)


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _copy_size(source: int, target: int) -> None:
    with contextlib.suppress(OSError):
        fcntl.ioctl(target, termios.TIOCSWINSZ, fcntl.ioctl(source, termios.TIOCGWINSZ, bytes(8)))
