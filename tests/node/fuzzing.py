"""Autobahn's WebSocket fuzzing client, on a Python of today.

The suite that everybody means by "Autobahn" (`autobahntestsuite`) is written for Python 2. What it asks is in its
cases, a class each; those are read here as they are published, but for the few places that Python 3 means otherwise.
A string of octets there is a string of characters below 256 here. What the suite drives them by, Twisted and an
Autobahn of 2015, is Autobahn on asyncio here: the same code for frames and for closing, some years on.

    python -m tests.node.fuzzing ADDRESS:PORT HOST [PATTERN…]      a line for each case, as JSON
"""

from __future__ import annotations

import asyncio
import codecs
import fnmatch
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import logging
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from autobahn.asyncio.websocket import WebSocketClientFactory, WebSocketClientProtocol
from autobahn.websocket import protocol

_AT_ONCE = 4  # cases, each on a connection of its own
_HEAVY = ("9.", "12.", "13.")  # so begin the names of cases that measure speed: one runs at a time
_NOT_IN_PYTHON_3 = (
    (r"\bprint\b.*", "pass"),
    (r"\bxrange\b", "range"),
    (r"\(object, Case, \)", "(Case,)"),
    (r"/ self\.p\.autoFragmentSize", "// self.p.autoFragmentSize"),
    (r"pickle\.dumps\(obj1\) == pickle\.dumps\(obj2\)", "obj1 == obj2"),  # for pickles of equals may differ
    (r"binascii\.b2a_hex\(", "repr("),  # for people
    (r"v\.validate\(vss\[:i\]\)", 'v.validate(vss[:i].encode("latin-1"))'),
    (r"from case9_9_1 import \*", ""),  # not among the cases, and wants Twisted
    (r"requestNoContextTakeover", "request_no_context_takeover"),  # as Autobahn calls it now
    (r"requestMaxWindowBits", "request_max_window_bits"),
    (r"import copy, os, pkg_resources,", "import copy, os,"),
    (r'pkg_resources\.resource_filename\("\w+", ', 'os.path.join(os.path.dirname(__file__), "..", '),
)


class Suite(importlib.abc.MetaPathFinder):
    """Finds the modules of the suite's cases, which import each other by their bare names."""

    def __init__(self) -> None:
        found = importlib.util.find_spec("autobahntestsuite")
        assert found is not None and found.submodule_search_locations
        self._folder = Path(found.submodule_search_locations[0]) / "case"

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not re.fullmatch(r"cases|case\d*\w*", fullname):
            return None
        file = self._folder / f"{'__init__' if fullname == 'cases' else fullname}.py"
        if not file.exists():
            return None
        return importlib.util.spec_from_loader(fullname, _Loader(fullname, str(file)))

    def cases(self) -> dict[str, Any]:
        """All cases by their names, such as 6.4.1, in the suite's order."""
        sys.meta_path.insert(0, self)
        try:
            found = importlib.import_module("cases").Cases
        finally:
            sys.meta_path.remove(self)
        return {case.__name__.removeprefix("Case").replace("_", "."): case for case in found}


class _Loader(importlib.machinery.SourceFileLoader):
    def get_code(self, fullname: str) -> Any:
        text = Path(self.path).read_text("latin-1")  # strings then have the octets that they have in Python 2
        for pattern, new in _NOT_IN_PYTHON_3:
            text = re.sub(pattern, new, text)
        return compile(text, self.path, "exec", dont_inherit=True)


class Fuzzer(WebSocketClientProtocol):  # type: ignore[misc]  # Autobahn has no types
    """One connection, and what a case does on it."""

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self._kind = kind
        self._timers: list[asyncio.TimerHandle] = []
        self.ended = asyncio.get_running_loop().create_future()

    # ── told by Autobahn ─────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: Any) -> None:
        self.connectionWasOpen = False
        self.createWirelog = True
        self.txFrameStats: dict[int, int] = {}
        self.case = self._kind(self)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        for timer in self._timers:
            timer.cancel()
        self.case.onConnectionLost(self.failedByMe)
        if not self.ended.done():
            closing = (self.case.behaviorClose, self.remoteCloseCode, self.remoteCloseReason)
            self.ended.set_result((self.case.behavior, *closing))

    def onOpen(self) -> None:  # noqa: N802
        self.connectionWasOpen = True
        self.case.onOpen()

    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: N802, N803
        as_octets = hasattr(self.case, "TESTDATA")  # those of compression read files
        self.case.onMessage(payload if as_octets else payload.decode("latin-1"), isBinary)

    def onPong(self, payload: bytes) -> None:  # noqa: N802
        self.case.onPong(payload.decode("latin-1"))

    def onClose(self, wasClean: bool, code: Any, reason: Any) -> None:  # noqa: N802, N803
        self.case.onClose(wasClean, code, reason)

    def logTxFrame(self, frameHeader: Any, *_: Any) -> None:  # noqa: N802, N803
        self.txFrameStats[frameHeader.opcode] = self.txFrameStats.get(frameHeader.opcode, 0) + 1

    # ── told by the case ─────────────────────────────────────────────────────────────────────────────────

    def sendFrame(self, opcode: int, payload: str | bytes = b"", **options: Any) -> None:  # noqa: N802
        super().sendFrame(opcode, _octets(payload), **options)

    def sendMessage(self, payload: str | bytes, *arguments: Any, **options: Any) -> None:  # noqa: N802
        super().sendMessage(_octets(payload), *arguments, **options)

    def sendMessageFrameData(self, payload: str | bytes, sync: bool = False) -> Any:  # noqa: N802
        return super().sendMessageFrameData(_octets(payload), sync)

    def sendCloseFrame(self, code: Any = None, reasonUtf8: Any = None, isReply: bool = False) -> None:  # noqa: N802, N803
        super().sendCloseFrame(code, None if reasonUtf8 is None else _octets(reasonUtf8), isReply)

    def enableWirelog(self, enable: bool) -> None:  # noqa: N802
        self.createWirelog = enable

    def continueLater(self, delay: float, fun: Any, tag: Any = None) -> None:  # noqa: N802
        self._later(delay, fun)

    def killAfter(self, delay: float) -> None:  # noqa: N802
        self._later(delay, self._fail_connection)

    def closeAfter(self, delay: float) -> None:  # noqa: N802
        self._later(delay, self.sendClose)

    def _later(self, delay: float, act: Any) -> None:
        def unless_closed() -> None:
            if self.state != self.STATE_CLOSED:
                act()

        self._timers.append(asyncio.get_running_loop().call_later(delay, unless_closed))


def _octets(text: str | bytes) -> bytes:
    return text.encode("latin-1") if isinstance(text, str) else text


class Masker:
    """Autobahn's, but for what it does octet by octet."""

    def __init__(self, mask: bytes) -> None:
        self._mask = mask
        self._done = 0

    def pointer(self) -> int:
        return self._done

    def process(self, data: bytes) -> bytes:
        size = len(data)
        mask = (self._mask * (size // 4 + 2))[self._done % 4 :][:size]
        self._done += size
        return (int.from_bytes(data, "big") ^ int.from_bytes(mask, "big")).to_bytes(size, "big")


class Validator:
    """Likewise."""

    _new: ClassVar[Any] = codecs.getincrementaldecoder("utf-8")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._decoder = self._new()

    def validate(self, data: bytes) -> tuple[bool, bool, int, int]:
        try:
            self._decoder.decode(data)
        except UnicodeDecodeError:
            return False, False, 0, 0
        return True, not self._decoder.getstate()[0], 0, 0


async def run(
    cases: dict[str, Any], address: tuple[str, int], host: str, told: Any = lambda name, result: None
) -> None:
    """Run them against a server; `told` is called with each case's name and its behaviour, closing, code, reason."""
    loop = asyncio.get_running_loop()
    places = asyncio.Semaphore(_AT_ONCE)

    async def one(name: str) -> None:
        factory = WebSocketClientFactory(f"ws://{host}/", loop=loop)
        factory.setProtocolOptions(failByDrop=False)
        factory.logFrames = True
        factory.protocol = lambda: Fuzzer(cases[name])
        async with places:
            _, fuzzer = await loop.create_connection(factory, *address)
            told(name, await fuzzer.ended)

    await asyncio.gather(*(one(name) for name in cases if not name.startswith(_HEAVY)))
    for name in cases:
        if name.startswith(_HEAVY):
            await one(name)


def main(address: str, host: str, *patterns: str) -> None:
    logging.disable()
    protocol.create_xor_masker = lambda mask, length=None: Masker(mask)
    protocol.Utf8Validator = Validator
    cases = Suite().cases()
    wanted = {
        name: cases[name] for name in cases if any(fnmatch.fnmatchcase(name, one) for one in patterns or "*")
    }
    ip, _, port = address.rpartition(":")
    asyncio.run(
        run(wanted, (ip, int(port)), host, lambda name, found: print(json.dumps([name, *found]), flush=True))
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
