"""The small files of a control group: numbers, lists and tables that are read and written as text."""

from __future__ import annotations

import contextlib
import os
from typing import Dict, List


def write(place: str, name: str, value: str) -> None:
    descriptor = os.open(f"{place}/{name}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)


def try_to_write(place: str, name: str, value: str) -> None:
    """Write what not every kernel has, or takes in this order."""
    with contextlib.suppress(OSError):
        write(place, name, value)


def read(place: str, name: str) -> str:
    """All of a small file; "" where there is none. Hundreds are read each second, so no file object is made."""
    try:
        descriptor = os.open(f"{place}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        found = b""
        while part := os.read(descriptor, 65536):
            found += part
        return found.decode()
    except OSError:
        return ""
    finally:
        os.close(descriptor)


def number(place: str, name: str) -> int:
    text = read(place, name).strip()
    return int(text) if text.isdigit() else 0


def table(place: str, name: str) -> Dict[str, int]:
    """A file of lines "key number"."""
    found: Dict[str, int] = {}
    for line in read(place, name).splitlines():
        key, _, value = line.partition(" ")
        if value.isdigit():
            found[key] = int(value)
    return found


def numbers(text: str) -> List[int]:
    """The numbers in a list such as "0-3,8"."""
    found: List[int] = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def remove_tree(place: str) -> bool:
    """Remove a group's directory and those in it; False while there are processes left."""
    try:
        inner = [entry.path for entry in os.scandir(place) if entry.is_dir()]
    except FileNotFoundError:
        return True
    gone = [remove_tree(path) for path in inner]
    try:
        os.rmdir(place)
    except FileNotFoundError:
        return all(gone)
    except OSError:  # EBUSY: a process is in it
        return False
    return all(gone)
