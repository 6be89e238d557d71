"""The demonstration: a node with three tenants and five sites, each asked twice. Run it by scripts/demo."""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from innkeeper.spec.node import Layout
from innkeeper.spec.site import SiteSpec, parse_site

EXAMPLES = Path(__file__).resolve().parent
PATIENCE = 30.0  # seconds for the node to come up, and for each answer
console = Console(highlight=False, soft_wrap=True)


class Example(NamedTuple):
    """One site of the demonstration: its folder's name is the first part of its domain."""

    name: str
    what: str
    expected: int  # status of its front page

    @property
    def domain(self) -> str:
        return f"{self.name}.localhost"


SITES = (
    Example("guestbook", "Django, SQLite, the admin", 200),
    Example("notes", "Flask, two processes", 200),
    Example("upload", "plain WSGI", 200),
    Example("brochure", "files alone", 200),
    Example("broken", "fails to import, on purpose", 500),
)


class Demo:
    """The node at `root`, and what is put into it."""

    def __init__(self, root: Path, port: int) -> None:
        self.layout = Layout(root)
        self.port = port
        self.specs = {example: self._read(example) for example in SITES}

    def _read(self, example: Example) -> SiteSpec:
        text = (EXAMPLES / example.name / "site.toml").read_text()
        return parse_site(example.domain, text, file=f"{example.domain}.toml")

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "innkeeper", "--root", str(self.layout.root), *arguments]

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            self.command(*arguments), capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
        )
        if done.returncode:
            raise SystemExit(f"demo: innkeeper {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def furnish(self) -> None:
        """Add the tenants, and copy each example into its tenant's places."""
        for tenant in sorted({spec.tenant for spec in self.specs.values()}):
            self.run("tenant", "add", tenant)
        for example, spec in self.specs.items():
            uid = self.layout.tenant_home(spec.tenant).stat().st_uid
            for part, target in (
                ("home", self.layout.tenant_home(spec.tenant)),
                ("www", self.layout.tenant_www(spec.tenant)),
            ):
                source = EXAMPLES / example.name / part
                if source.is_dir():
                    _copy(source, target, uid)

    @contextlib.contextmanager
    def node(self) -> Iterator[subprocess.Popen[str]]:
        """The running node; ended on leaving."""
        address = f"127.0.0.1:{self.port}"
        process = subprocess.Popen(
            self.command("up", "--http", address), stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.strip() == "innkeeper: ready":
                    break
            else:
                raise SystemExit(
                    "demo: the node did not start; choose another port with --port if 8000 is taken"
                )
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=PATIENCE)

    def prepare(self) -> None:
        """What the guestbook needs once, done in its tenant's sandbox."""
        self.run("tenant", "run", "alice", "--", "sh", "-c", 'exec python3 "$HOME/guestbook/prepare.py"')

    def publish(self) -> None:
        """Drop the site files in: the sites are live."""
        for example in SITES:
            beside = self.layout.sites / f".{example.name}"
            shutil.copyfile(EXAMPLES / example.name / "site.toml", beside)
            beside.rename(self.layout.site_file(example.domain))
        deadline = time.monotonic() + PATIENCE
        while not all(self.layout.route(example.domain).exists() for example in SITES):
            if time.monotonic() > deadline:
                raise SystemExit("demo: the sites did not come up")
            time.sleep(0.005)

    def ask(self, domain: str) -> tuple[int, float]:
        """The status of a site's front page, and the milliseconds from connecting to the first byte."""
        began = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request("GET", "/", headers={"Host": f"{domain}:{self.port}"})
            answer = connection.getresponse()
            elapsed = (time.perf_counter() - began) * 1000
            answer.read()
            return answer.status, elapsed

    def states(self) -> dict[str, dict[str, Any]]:
        return {site["domain"]: site for site in json.loads(self.run("status", "--json"))["sites"]}


def _copy(source: Path, target: Path, uid: int) -> None:
    """Copy the tree `source` into the tenant's fresh directory, as the tenant's own."""
    for path in sorted(source.rglob("*")):
        if "__pycache__" in path.parts:
            continue
        copy = target / path.relative_to(source)
        if path.is_dir():
            copy.mkdir(exist_ok=True)
        else:
            shutil.copyfile(path, copy)
        os.chown(copy, uid, uid, follow_symlinks=False)


def tour(demo: Demo) -> bool:
    """Ask each site twice and print what happened; True when all was as it should be."""
    asked = {example: (demo.ask(example.domain), demo.ask(example.domain)) for example in SITES}
    states = demo.states()
    table = Table(title=None, box=None, pad_edge=False, header_style="bold")
    wide = console.width >= 120
    for heading in ("Site", *(("What it is", "Tenant") if wide else ()), "State", "Status"):
        table.add_column(heading, no_wrap=True)
    for heading in ("First answer", "Second answer"):
        table.add_column(heading, justify="right", no_wrap=True)
    for example, ((status, first), (again, second)) in asked.items():
        good = status == again == example.expected
        table.add_row(
            f"http://{example.domain}:{demo.port}/",
            *((example.what, demo.specs[example].tenant) if wide else ()),
            states[example.domain]["state"],
            f"[{'green' if good else 'red'}]{status}[/]",
            f"{first:.1f} ms",
            f"{second:.1f} ms",
        )
    console.print()
    console.print(table)
    return all(status == again == example.expected for example, ((status, _), (again, _)) in asked.items())


def explain(demo: Demo) -> None:
    """What a visitor can do now."""
    password = demo.layout.tenant_home("alice") / "guestbook/ADMIN_PASSWORD.txt"
    command = f".venv/bin/innkeeper --root {demo.layout.root}"
    console.print(
        f"\nThe guestbook's admin is at http://guestbook.localhost:{demo.port}/admin/ "
        f"(user admin, password {password.read_text().strip()}).\n"
        "Look behind the curtain, in another terminal:\n"
        f"  {command} status\n"
        f"  {command} site show broken.localhost\n"
        f"  {command} site logs notes.localhost --follow\n"
        "[bold]Ctrl-C[/] ends the demonstration.",
        markup=True,
    )


@contextlib.contextmanager
def place() -> Iterator[Path]:
    """The node's root, made anew and deleted in the end."""
    root = EXAMPLES.parent / ".demo"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    try:
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="end after the table")
    parser.add_argument("--port", type=int, default=8000, help="the port to serve at (default: 8000)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with place() as root:
        demo = Demo(root, options.port)
        console.print("demo: adding three tenants …")
        demo.furnish()
        console.print("demo: starting the node …")
        with demo.node() as node:
            console.print("demo: preparing the guestbook's tables, in its tenant's sandbox …")
            demo.prepare()
            demo.publish()
            good = tour(demo)
            if not options.once:
                explain(demo)
                with contextlib.suppress(KeyboardInterrupt):
                    node.wait()
    return 0 if good else 1


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
