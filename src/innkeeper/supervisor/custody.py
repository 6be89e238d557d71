"""What the keeper holds for us: descriptors by name, with a note, that outlive this process.

Everything is handed over before it is used, so that whoever comes after a killed supervisor finds it.
"""

from __future__ import annotations

import socket
from typing import Any, NamedTuple

from innkeeper.kernel import sockets


class Kept(NamedTuple):
    """Descriptors and a note that an earlier supervisor left with the keeper."""

    name: str
    descriptors: list[int]
    note: dict[str, Any]


class Custody:
    """The supervisor's end of its channel to the keeper. Calls block only while the keeper reads."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel

    def keep(self, name: str, descriptors: list[int], note: dict[str, Any] | None = None) -> None:
        """Give copies of descriptors into keeping under `name`, in place of what was there."""
        sockets.send(self.channel, {"keep": name, "note": note or {}}, descriptors)

    def note(self, name: str, note: dict[str, Any]) -> None:
        """Change the note of what is kept under `name`."""
        sockets.send(self.channel, {"note": note, "of": name})

    def drop(self, name: str) -> None:
        sockets.send(self.channel, {"drop": name})

    def say(self, word: str) -> None:
        """Tell the keeper how far we are: "published", all sites are in place; "ready", and quick to wake."""
        sockets.send(self.channel, {"say": word})

    def recover(self) -> list[Kept]:
        """All that is kept, in the order in which it was given."""
        sockets.send(self.channel, {"recover": True})
        found: list[Kept] = []
        while True:
            received = sockets.receive(self.channel, sockets.MAX_DESCRIPTORS)
            if received is None:
                raise ConnectionError("the keeper is gone")
            message, descriptors = received
            if message["kept"] is None:
                return found
            found.append(Kept(message["kept"], descriptors, message["note"]))
