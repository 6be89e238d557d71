"""The peer that needs no set-up: uWSGI, executed when a connection waits at a socket that is there already."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import tempfile
import time
from pathlib import Path

_LIMIT = 30.0


def first_answer(uwsgi: Path, folder: Path, entry: str) -> float:
    """Milliseconds from executing uWSGI to the first byte of an answer to a request that waits already."""
    module, _, name = entry.partition(":")
    with tempfile.TemporaryDirectory() as place:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(f"{place}/sock")
        listener.listen(64)
        visitor = socket.socket(socket.AF_UNIX)
        visitor.settimeout(_LIMIT)
        visitor.connect(f"{place}/sock")
        visitor.sendall(_request())
        command = [
            *(str(uwsgi), "--socket", f"fd://{listener.fileno()}", "--module", module, "--callable", name),
            *("--need-app", "--single-interpreter", "--enable-threads", "--threads", "4"),
            *("--disable-logging", "--die-on-term", "--virtualenv", str(uwsgi.parents[1])),
        ]
        began = time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=folder,
            pass_fds=[listener.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.defpath, "LANG": "C.UTF-8"},
        )
        try:
            answer = visitor.recv(65536)
            elapsed = (time.perf_counter() - began) * 1000
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
            listener.close()
            visitor.close()
    if b" 200 " not in answer[:40]:
        raise SystemExit(f"bench: uWSGI gave {answer[:200]!r} for {folder}")
    return elapsed


def _request() -> bytes:
    """A GET request as nginx would send it: the uwsgi packet of its variables."""
    variables = {
        "REQUEST_METHOD": "GET",
        "REQUEST_URI": "/",
        "PATH_INFO": "/",
        "QUERY_STRING": "",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "bench.localhost",
        "SERVER_PORT": "80",
        "HTTP_HOST": "bench.localhost",
        "REMOTE_ADDR": "127.0.0.1",
    }
    body = b"".join(
        struct.pack("<H", len(part)) + part.encode() for pair in variables.items() for part in pair
    )
    return struct.pack("<BHB", 0, len(body), 0) + body
