"""The numbers: how long, how deep, how many. Lengths of texts are in bytes of UTF-8, times in seconds."""

from __future__ import annotations

from typing import Final

# nginx connects to "HOST/live/sock", relative to its directory; a Unix socket's path has room for 107 bytes.
MAX_DOMAIN: Final = 96
MAX_LABEL: Final = 63

MAX_TENANT: Final = 32  # the longest name of a Unix user
MAX_RUNTIME: Final = 32

# tomllib needs memory by the square of a key's parts ("a.b.c"): a 64 KiB file could ask for 4 GB.
MAX_FILE: Final = 64 * 1024
MAX_DOTS: Final = 500  # in one line

MAX_PATH: Final = 1024
MAX_SEGMENT: Final = 255  # the longest file name of Linux's file systems
MAX_URL_DEPTH: Final = 4
MAX_URL_SEGMENT: Final = 200
MAX_MODULE: Final = 200
MAX_COMMAND: Final = 2000

MAX_ALIASES: Final = 100
MAX_STATIC: Final = 100
MAX_ENV: Final = 500
MAX_ENV_NAME: Final = 100
MAX_PRELOAD: Final = 1000

MAX_PROCESSES: Final = 64
DEFAULT_PROCESSES: Final = 1
MAX_THREADS: Final = 256
DEFAULT_THREADS: Final = 4
MAX_TIMEOUT: Final = 86_400
DEFAULT_TIMEOUT: Final = 300
MAX_IDLE: Final = 30 * 86_400
DEFAULT_IDLE: Final = 900
MAX_LONGEST: Final = 30 * 86_400
DEFAULT_LONGEST: Final = 86_400
MAX_STARTS: Final = 1000
MAX_NGINX_WORKERS: Final = 512

MIN_MEMORY: Final = 8 << 20  # bytes; with less a worker, or a helper of a tenant's, does not come up at all
MIN_LOG: Final = 64 << 10  # bytes; of less not even one traceback of a large app is whole
MAX_TASKS: Final = 32_768
MAX_CPU: Final = 100_000  # hundredths of a core
MAX_WEIGHT: Final = 10_000  # the kernel's
MAX_OPEN_FILES: Final = 1_000_000
MAX_FILE_COUNT: Final = 1_000_000_000
MAX_CPU_SECONDS: Final = 100_000_000
MAX_DAYS: Final = 3_650
MAX_CONNECTIONS: Final = 16_000
MAX_OPENINGS: Final = 100

MIN_UID: Final = 1000  # below are the system's own users
MAX_UID: Final = 2**31 - 1
UNUSABLE_UIDS: Final = (65_534, 65_535)  # nobody, and -1 in 16 bits
FIRST_UID: Final = 20_000
LAST_UID: Final = 59_999

MAX_PASSWORD_USER: Final = 64
# A check takes 2**cost rounds: 4 is the least that bcrypt knows, 12 takes a quarter of a second.
MIN_BCRYPT_COST: Final = 4
MAX_BCRYPT_COST: Final = 12
