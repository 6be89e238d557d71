"""The uploads on disk: for each a file ID, named by chance alone, and ID.json with what is known of it."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).resolve().parent / "uploads"
KEPT = 20  # the newest ones; older ones make room
LONGEST_NAME = 120


class Upload(NamedTuple):
    id: str
    name: str
    size: int
    sha256: str
    at: float  # seconds since 1970


def save(name: str, chunks: Iterable[bytes]) -> Upload:
    """Write `chunks` to a new file. Of an upload that fails, nothing stays."""
    FOLDER.mkdir(mode=0o700, exist_ok=True)
    number = secrets.token_hex(8)
    unfinished = FOLDER / f"{number}.part"
    try:
        size, sha256 = _write(unfinished, chunks)
        upload = Upload(number, _shown(name), size, sha256, time.time())
        unfinished.rename(FOLDER / number)
        _describe(upload)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        (FOLDER / number).unlink(missing_ok=True)
        raise
    _make_room()
    return upload


def newest() -> list[Upload]:
    """What is kept, newest first."""
    found = []
    for path in FOLDER.glob("*.json"):
        try:
            found.append(Upload(**json.loads(path.read_text(encoding="utf-8"))))
        except FileNotFoundError:
            continue  # another process made room just now
    return sorted(found, key=lambda upload: upload.at, reverse=True)


def _write(path: Path, chunks: Iterable[bytes]) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    with open(path, "xb") as file:
        for chunk in chunks:
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()


def _describe(upload: Upload) -> None:
    """Only a finished description makes an upload visible."""
    new = FOLDER / f"{upload.id}.new"
    new.write_text(json.dumps(upload._asdict()), encoding="utf-8")
    os.replace(new, FOLDER / f"{upload.id}.json")


def _shown(name: str) -> str:
    """The last part of a path, without control characters; it is shown, and never used as a path."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(letter for letter in last if letter.isprintable())[:LONGEST_NAME] or "unnamed"


def _make_room() -> None:
    for upload in newest()[KEPT:]:
        (FOLDER / f"{upload.id}.json").unlink(missing_ok=True)
        (FOLDER / upload.id).unlink(missing_ok=True)
