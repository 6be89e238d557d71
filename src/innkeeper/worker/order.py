"""What is to be forked: everything a worker or helper needs to know, in one plain value.

The supervisor writes it, the zygote passes it on, the worker obeys it. It travels as JSON; the descriptors
travel beside it in the order of `Descriptors`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

MAX_DESCRIPTORS = 12
RESERVE = 16  # files that a process may open beyond the app's limit, for looking after it


class Descriptors(NamedTuple):
    """Open files handed to a worker: its channel to the supervisor, the site's listening socket, its logs.

    A helper has its standard input where a worker has its listening socket. `doors` lead into the control
    group whose limits are the site's.
    """

    channel: int
    listener: int
    stdout: int
    stderr: int
    doors: Tuple[int, ...] = ()

    @classmethod
    def of(cls, descriptors: List[int]) -> Descriptors:
        """From a row as `row` makes it."""
        channel, listener, stdout, stderr, *doors = descriptors
        return cls(channel, listener, stdout, stderr, tuple(doors))

    def row(self) -> List[int]:
        """All of them in a row, to be sent."""
        return [self.channel, self.listener, self.stdout, self.stderr, *self.doors]


@dataclass(frozen=True)
class Order:
    """One worker (or helper, when `arguments` or `task` is given) to fork. Paths are as the tenant sees them."""

    identity: int
    domain: str
    tenant: str
    uid: int
    gid: int
    kind: str = "wsgi"  # or "asgi", "command"
    entry: str = ""  # "/path.py" or "module", or the command
    callable: Optional[str] = None
    directory: Optional[str] = None
    virtualenv: Optional[str] = None
    interpreter: str = ""  # the Python that is to be executed, when none that can be forked is of its version
    environment: Dict[str, str] = field(default_factory=dict)
    arguments: Tuple[str, ...] = ()  # a helper's command
    task: Dict[str, Any] = field(default_factory=dict)  # or what it does without one (see `tasks`)
    port: int = 0  # where a command may listen instead of on its socket; 0 = nowhere
    terminal: bool = False  # its standard input is a terminal that is to be its own
    processes: int = 1
    threads: int = 1
    timeout: float = 300.0  # seconds a request may take
    idle: float = 900.0  # seconds without requests before it asks to sleep; 0 = never
    longest: float = 86_400.0  # seconds that a WebSocket or an event stream may be open; 0 = any
    open_files: int = 4096
    tasks: int = 512  # processes and threads of the tenant's, in all of its sandboxes
    file_size: int = 0  # bytes that one file may have; 0 = as the file system allows
    body: int = 0  # bytes that a request's body may have; 0 = as nginx allows
    log: int = 10 << 20  # bytes at which a log file is full
    shm: int = 64 << 20  # bytes of /dev/shm

    @property
    def is_helper(self) -> bool:
        return bool(self.arguments or self.task)

    def to_message(self) -> Dict[str, Any]:
        return dict(vars(self))

    @classmethod
    def from_message(cls, message: Dict[str, Any]) -> Order:
        return cls(**{**message, "arguments": tuple(message["arguments"])})
