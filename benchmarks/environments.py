"""The same small apps from the runtime, from a virtualenv with the same versions, and from one with others."""

from __future__ import annotations

import re
import statistics
from typing import Any, NamedTuple

from rich.progress import Progress

from benchmarks import apps
from tests.node.harness import Node

TENANT = "bench"
MOST_OVER = 15.0  # milliseconds over the app's own import time, from a virtualenv with other versions
_IMPORTS = 7  # measurements of an import time
_GROUNDS = ("runtime", "own, same versions", "own, other versions")


class Kind(NamedTuple):
    """A framework: its distribution, the other version that is tried, and the most milliseconds from the runtime."""

    package: str
    other: str
    entry: str
    most_ms: float


KINDS = {
    "Django": Kind("django", "django==4.2.16", "project.wsgi:application", 50.0),
    "Flask": Kind(
        "flask", "flask==3.0.3 werkzeug==3.0.6 jinja2==3.1.4 markupsafe==2.1.5", "app:application", 25.0
    ),
    "FastAPI": Kind("fastapi", "fastapi==0.115.6 pydantic==2.10.4", "app:app", 40.0),
}


def measure(node: Node, sites: int, progress: Progress) -> dict[str, dict[str, Any]]:
    """By "kind, ground": the version in the app, cold starts and the import time in milliseconds."""
    node.tenant(TENANT)
    task = progress.add_task("environments", total=len(KINDS) * len(_GROUNDS))
    frozen = _run(node, "python", "-m", "pip", "freeze", "--all")
    found: dict[str, dict[str, Any]] = {}
    for name, kind in KINDS.items():
        same = next(line for line in frozen.splitlines() if line.lower().startswith(f"{kind.package}=="))
        for ground in _GROUNDS:
            home = f"/home/{TENANT}/{name.lower()}-{_GROUNDS.index(ground)}"
            python = f"{home}/env/bin/python"
            if ground == "runtime":
                python = "python"
            else:
                _run(node, "python3", "-m", "venv", f"{home}/env")
                node.put(
                    TENANT, f"{home}/constraints.txt", frozen if ground.endswith("same versions") else ""
                )
                wanted = kind.other.split() if ground.endswith("other versions") else [same]
                _run(node, python, "-m", "pip", "-q", "install", "-c", f"{home}/constraints.txt", *wanted)
            _write(node, name, home, python)
            starts, version = _starts(node, name, kind, home, ground == "runtime", sites)
            found[f"{name}, {ground}"] = {
                "version": version,
                "right": version in (same if ground != _GROUNDS[2] else kind.other),
                "cold_start_ms": statistics.median(starts),
                "slowest_ms": max(starts),
                "import_ms": _import_time(node, kind, home, python),
            }
            progress.advance(task)
    return found


def limit(name: str, figures: dict[str, Any]) -> float:
    """The most milliseconds that a first start may take."""
    kind, ground = name.split(", ", 1)
    return KINDS[kind].most_ms if ground == _GROUNDS[0] else float(figures["import_ms"]) + MOST_OVER


def _write(node: Node, name: str, home: str, python: str) -> None:
    if name == "Django":
        _run(node, "mkdir", "-p", f"{home}/app")
        _run(node, python, "-m", "django", "startproject", "project", f"{home}/app")
        view = "\nimport django\nfrom django.http import HttpResponse\n"
        view += "def version(request):\n    return HttpResponse(django.__version__)\n"
        view += 'urlpatterns += [path("", version), path("version", version)]\n'
        urls = node.layout.on_host(TENANT, f"{home}/app/project/urls.py")
        node.put(TENANT, f"{home}/app/project/urls.py", urls.read_text() + view)
        settings = node.layout.on_host(TENANT, f"{home}/app/project/settings.py")
        node.put(
            TENANT,
            f"{home}/app/project/settings.py",
            settings.read_text().replace("ALLOWED_HOSTS = []", "ALLOWED_HOSTS = ['*']"),
        )
    elif name == "Flask":
        view = '\nfrom importlib import metadata\n@application.get("/version")\ndef version():\n'
        node.put(TENANT, f"{home}/app/app.py", apps.FLASK + view + '    return metadata.version("flask")\n')
    else:
        view = '\nfrom fastapi import Response, __version__\n@app.get("/version")\ndef version():\n'
        node.put(TENANT, f"{home}/app/app.py", apps.FASTAPI + view + "    return Response(__version__)\n")


def _starts(
    node: Node, name: str, kind: Kind, home: str, from_runtime: bool, sites: int
) -> tuple[list[float], str]:
    """Milliseconds of the first starts of that many sites, and the version that the app finds."""
    starts = []
    for number in range(sites):
        domain = f"{home.rpartition('/')[2]}-{number}.localhost"
        environment = "" if from_runtime else f'virtualenv = "{home}/env"\n'
        protocol = "asgi" if name == "FastAPI" else "wsgi"
        app = f'{protocol} = "{kind.entry}"\ndirectory = "{home}/app"\n{environment}'
        node.site(domain, f'tenant = "{TENANT}"\n[app]\n{app}')
        node.await_route(domain)
        answer = node.get(domain)
        if answer.status != 200:
            raise SystemExit(f"bench: {domain} answered {answer.status}: {node.log(domain, 'error')}")
        starts.append(answer.seconds * 1000)
        version = node.get(domain, "/version").text
    for number in range(sites):
        node.remove(f"{home.rpartition('/')[2]}-{number}.localhost")
    node.await_gone()
    return starts, version


def _import_time(node: Node, kind: Kind, home: str, python: str) -> float:
    """The median of what `python -X importtime` tells of the app's module, in milliseconds."""
    module = kind.entry.partition(":")[0]
    code = f"cd {home}/app && exec {python} -X importtime -c 'import {module}' 2>&1"
    times = []
    for _ in range(_IMPORTS):
        lines = re.findall(r"\|\s+(\d+) \| (\S+)$", _run(node, "sh", "-c", code), re.MULTILINE)
        # Of a part of a package, the package comes as a line of its own, and is no part of the module's.
        times.append(
            sum(int(time) for time, name in lines if name in (module, module.partition(".")[0])) / 1000
        )
    return statistics.median(times)


def _run(node: Node, *command: str) -> str:
    return node.cli("tenant", "run", TENANT, "--", *command, timeout=300).stdout
