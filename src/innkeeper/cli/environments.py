"""Building a runtime's environment: a virtualenv with uWSGI, uvicorn and the operator's packages.

Each build is a directory of its own, NAME.NUMBER, so that the one before goes on until nobody stands on it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from innkeeper.kernel import files, namespaces
from innkeeper.spec.node import Layout

# Without what a worker has no use for: uWSGI then links neither OpenSSL nor libxml nor PCRE, whose second copies
# in one process have crashed psycopg2 and cryptography.
_UWSGI_PROFILE = "ssl=false;xml=false;json=false;yaml=false;pcre=false"
_UWSGI = "pyuwsgi>=2.0.28"
_SERVERS = Path(__file__).with_name("servers.txt")
_NOTE = "innkeeper.json"  # in an environment: what it was built from
_OLDEST = (3, 9)
_LAST_LINES = 25
_ABOUT = """
import json, os, sys, sysconfig
found = [name for name in ("venv", "ensurepip") if not __import__("importlib.util").util.find_spec(name)]
headers = os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h"))
print(json.dumps([list(sys.version_info[:2]), found, headers, os.path.realpath(sys.base_prefix)]))
"""

Step = Callable[[str], None]


class BuildError(Exception):
    """An environment could not be built: what went wrong, and what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class Base(NamedTuple):
    """What an environment is built from."""

    python: str
    requirements: str


def build(layout: Layout, name: str, base: Base, step: Step) -> Path:
    """Build the next environment of a runtime; `layout.environments` is locked meanwhile. Raises BuildError."""
    version = _version_of(base.python)
    numbers = [
        int(path.suffix[1:]) for path in layout.environments.glob(f"{name}.*") if path.suffix[1:].isdigit()
    ]
    environment = layout.environments / f"{name}.{max(numbers, default=0) + 1}"
    try:
        step(f"Making an environment of Python {version}")
        _do([base.python, "-m", "venv", str(environment)], "the virtualenv could not be made", "")
        pip = [str(environment / "bin/python"), "-m", "pip", "--disable-pip-version-check", "--no-input"]
        uwsgi = _uwsgi(layout, pip, version, step)
        step(f"Installing what {base.requirements} asks for")
        _do(
            [
                *pip,
                "install",
                "--use-pep517",
                "--root-user-action=ignore",
                uwsgi,
                "-r",
                str(_SERVERS),
                "-r",
                base.requirements,
            ],
            "the packages could not be installed",
            f"Mend {base.requirements} by what pip says above, and run the command again.",
            directory=Path(base.requirements).parent,  # paths in it are meant from there
        )
        step("Checking it")
        _do([*pip, "check"], "the packages do not go together", f"Mend the versions in {base.requirements}.")
        for module in ("pyuwsgi", "uvicorn"):
            _do(
                [str(environment / "bin/python"), "-c", f"import {module}"], f"{module} can't be imported", ""
            )
        _seal(environment, f"/opt/innkeeper/runtimes/{name}", base)
    except BaseException:
        shutil.rmtree(environment, ignore_errors=True)
        raise
    return environment


def base_of(environment: Path) -> Base | None:
    """What an environment was built from; None when it was not built here."""
    try:
        base = Base(**json.loads((environment / _NOTE).read_text()))
    except (OSError, ValueError, TypeError):
        return None
    kept = environment / "requirements.txt"
    return base if Path(base.requirements).exists() else base._replace(requirements=str(kept))


def distributions(environment: Path) -> dict[str, str]:
    """The packages of an environment and their versions."""
    found = metadata.distributions(
        path=[str(path) for path in environment.glob("lib/python3*/site-packages")]
    )
    return {each.metadata["Name"]: each.version for each in sorted(found, key=lambda one: one.name.lower())}


def _version_of(python: str) -> str:
    """A Python's version, once it is sure that environments can be made with it."""
    try:
        told = subprocess.run(
            [python, "-I", "-c", _ABOUT], capture_output=True, text=True, check=True, timeout=30
        )
        number, missing, has_headers, base = json.loads(told.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise BuildError(
            f"{python} is no Python that can be run: {_reason(error)}",
            "Name one that is installed, as in --python /usr/bin/python3.11.",
        ) from None
    version = ".".join(map(str, number))
    if tuple(number) < _OLDEST:
        raise BuildError(
            f"{python} is Python {version}, and a runtime needs 3.9 or newer",
            "Name a newer one with --python.",
        )
    if not f"{base}/".startswith("/usr/") and namespaces.permitted() is None:
        raise BuildError(
            f"{python} is installed in {base}, and of this machine a sandbox shows /usr alone",
            "Install it below /usr, as in /usr/local, and name that one with --python.",
        )
    if missing:
        raise BuildError(
            f"{python} lacks {' and '.join(missing)}", f"On Debian: apt-get install python{version}-venv"
        )
    if not has_headers or not shutil.which("gcc"):
        raise BuildError(
            f"uWSGI can't be compiled for {python}: there is no {'gcc' if has_headers else 'Python.h'}",
            f"On Debian: apt-get install gcc libc6-dev python{version}-dev",
        )
    return version


def _reason(error: Exception) -> str:
    """Why a Python told nothing of itself, without the code that it was given."""
    if isinstance(error, subprocess.CalledProcessError):
        return f"it ended with status {error.returncode}"
    return str(error.strerror) if isinstance(error, OSError) else "it does not answer as one"


def _uwsgi(layout: Layout, pip: list[str], version: str, step: Step) -> str:
    """The wheel of uWSGI for this Python, compiled once."""
    wheels = layout.lib / "cache/uwsgi" / version
    files.ensure_directory(wheels, mode=0o755)
    for found in sorted(wheels.glob("pyuwsgi-*.whl"), reverse=True):
        return str(found)
    step("Compiling uWSGI, which takes a minute, and is done once for each Python")
    _do(
        [
            *pip,
            "wheel",
            "--use-pep517",
            "--no-deps",
            "--no-binary",
            "pyuwsgi",
            "--wheel-dir",
            str(wheels),
            _UWSGI,
        ],
        "uWSGI could not be compiled",
        "What the compiler says is above.",
        UWSGI_PROFILE_OVERRIDE=_UWSGI_PROFILE,
    )
    return str(next(wheels.glob("pyuwsgi-*.whl")))


def _do(
    command: list[str], failure: str, hint: str, directory: Path | None = None, **environment: str
) -> None:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        cwd=directory,
        env={**os.environ, **environment},
        check=False,
    )
    if done.returncode:
        last = "\n".join(f"  {line}" for line in done.stdout.splitlines()[-_LAST_LINES:])
        raise BuildError(f"{last}\n{failure}".lstrip("\n"), hint)


def _seal(environment: Path, seen: str, base: Base) -> None:
    """Note what it was built from, have its scripts name the Python that apps see, and let nothing be written."""
    own = f"#!{environment}/bin/python".encode()
    for script in (environment / "bin").iterdir():
        if script.is_file() and not script.is_symlink():
            text = script.read_bytes()
            if text.startswith(own):
                script.write_bytes(f"#!{seen}/bin/python".encode() + text[len(own) :])
    shutil.copyfile(base.requirements, environment / "requirements.txt")
    (environment / _NOTE).write_text(json.dumps(base._asdict()))
    for directory, _, names in os.walk(environment):
        for name in ("", *names):
            path = os.path.join(directory, name)
            if not os.path.islink(path):
                os.chmod(path, os.stat(path).st_mode & ~0o222)
