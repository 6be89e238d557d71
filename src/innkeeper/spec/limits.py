"""The numbers: how long, how deep, how many. Sizes are in bytes of UTF-8, times in seconds."""

from __future__ import annotations

from typing import Final

# nginx connects to "sites/<host>/sock" relative to its directory, and a Unix socket's path has room for 107 bytes.
MAX_DOMAIN: Final = 96
MAX_LABEL: Final = 63

MAX_TENANT: Final = 32  # the longest user name that useradd, ps and utmp agree on
MAX_RUNTIME: Final = 32

MAX_PATH: Final = 1024
MAX_SEGMENT: Final = 255  # the longest file name of Linux's file systems
MAX_URL_DEPTH: Final = 4
MAX_URL_SEGMENT: Final = 200
MAX_MODULE: Final = 200
MAX_COMMAND: Final = 2000

MAX_ALIASES: Final = 100
MAX_STATIC: Final = 100
MAX_PRELOAD: Final = 500

# The environment travels to the worker in one message, which has room for 256 KiB.
MAX_ENV: Final = 200
MAX_ENV_NAME: Final = 100
MAX_ENV_VALUE: Final = 16 * 1024

MIN_PROCESSES: Final = 1
MAX_PROCESSES: Final = 64
MIN_THREADS: Final = 1
MAX_THREADS: Final = 256
MIN_TIMEOUT: Final = 1
MAX_TIMEOUT: Final = 86_400
DEFAULT_TIMEOUT: Final = 300
MAX_IDLE: Final = 30 * 86_400
DEFAULT_IDLE: Final = 900

# Below are the system's own users; `useradd` begins at 1000 on Debian and Ubuntu.
MIN_UID: Final = 1000
MAX_UID: Final = 2**31 - 1
UNUSABLE_UIDS: Final = frozenset({65_534, 65_535})  # nobody, and -1 of 16 bits

MAX_STARTS: Final = 1000
MAX_USER: Final = 64  # of a site's [password]

# Checking a password takes 2**cost rounds: 4 is the least that bcrypt allows, 12 takes a quarter of a second.
MIN_BCRYPT_COST: Final = 4
MAX_BCRYPT_COST: Final = 12
