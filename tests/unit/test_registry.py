"""Site files and their last good versions, on a disk that takes or gives no more."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from innkeeper.kernel import files
from innkeeper.spec.node import NodeSettings
from innkeeper.spec.site import SiteSpec, parse_site
from innkeeper.supervisor.registry import LastGood, LastingFolder, Registry


class Files:
    """A directory of site files, and registries that read it, as one supervisor after the other has them."""

    def __init__(self, top: Path) -> None:
        self.sites, self.last_good = top / "sites", top / "last-good"
        self.log: list[str] = []
        self._times = iter(range(10**9, 10**12, 10**9))
        self.sites.mkdir()

    def registry(self) -> Registry:
        folder = LastingFolder[SiteSpec](
            self.sites,
            lambda name, text, file: parse_site(name, text, file=file, settings=NodeSettings()),
            LastGood(self.last_good, SiteSpec, self.log.append),
        )
        return Registry(folder)

    def put(self, domain: str, alias: str = "") -> None:
        aliases = f'aliases = ["{alias}"]' if alias else ""
        self._write(domain, f'tenant = "alice"\n{aliases}\n[app]\nwsgi = "/var/www/a.py"\n')

    def spoil(self, domain: str) -> None:
        self._write(domain, "tenant = \n")

    def _write(self, domain: str, text: str) -> None:
        path, now = self.sites / f"{domain}.toml", next(self._times)
        path.write_text(text)
        os.utime(path, ns=(now, now))


@pytest.fixture
def found(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Until `full.undo`, nothing can be written."""

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr(files, "write_atomically", refuse)
        yield context


def test_a_full_disk_keeps_no_site_of_the_batch_from_being_served(
    found: Files, full: pytest.MonkeyPatch
) -> None:
    registry = found.registry()
    found.put("old.test")
    registry.refresh()
    for domain in ("a.test", "z.test"):
        found.put(domain)
    found.spoil("old.test")
    changes = registry.refresh(["a.test", "old.test", "z.test"])
    assert [change.domain for change in changes] == ["a.test", "z.test"]
    assert "old.test" in registry.faults
    assert "old.test" in registry.wanted
    assert len(found.log) == 1
    assert "No space left on device" in found.log[0]


def test_what_cannot_be_deleted_is_told_and_is_not_taken_for_the_last_good_version(
    found: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = found.registry()
    found.put("a.test", alias="former.test")
    registry.refresh()
    found.spoil("a.test")
    registry.refresh()
    found.put("a.test", alias="present.test")
    with monkeypatch.context() as context:
        context.setattr(Path, "unlink", lambda *_, **__: os.rmdir("/proc"))
        (change,) = registry.refresh()
    assert change.after is not None
    assert len(found.log) == 1
    found.spoil("a.test")
    registry.refresh()
    (recalled,) = found.registry().refresh()
    assert recalled.after is not None
    assert recalled.after.aliases == ("present.test",)


def test_the_last_good_version_outlives_a_restart_and_no_good_one(found: Files) -> None:
    registry = found.registry()
    found.put("a.test")
    registry.refresh()
    found.spoil("a.test")
    assert registry.refresh() == []
    (change,) = found.registry().refresh()
    assert change.after == registry.wanted["a.test"]
    found.put("a.test")
    registry.refresh()
    assert not list(found.last_good.iterdir())
    shutil.rmtree(found.last_good)
    found.spoil("a.test")
    assert found.registry().refresh() == []


def test_the_last_good_version_of_a_file_that_was_deleted_unseen_is_forgotten(found: Files) -> None:
    registry = found.registry()
    found.put("a.test")
    registry.refresh()
    found.spoil("a.test")
    registry.refresh()
    assert found.last_good.stat().st_mode & 0o777 == 0o700
    (found.sites / "a.test.toml").unlink()
    assert found.registry().refresh() == []
    found.spoil("a.test")
    assert found.registry().refresh() == []
