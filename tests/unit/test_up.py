"""innkeeper up: what it sees to before the keeper takes over."""

from __future__ import annotations

import io
import sys

import pytest

from innkeeper.cli import up
from innkeeper.supervisor import main as supervisor


def test_words_that_nobody_takes_are_lost_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk, as a file's or a pipe's that was closed."""
    with open("/dev/full", "wb", buffering=0) as full:
        for name in ("stdout", "stderr"):
            monkeypatch.setattr(sys, name, io.TextIOWrapper(full, write_through=True))  # type: ignore[type-var]
        with pytest.raises(OSError, match="No space"):
            print("anything", file=sys.stderr)
        supervisor.log("supervisor ended")
        up._announce()
