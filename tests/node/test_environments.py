"""Virtualenvs: an app has exactly the packages of its own one, wherever its worker came from."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from innkeeper.supervisor import runtimes
from tests.node.harness import Node, await_true

RUNTIME = Path(next(iter(runtimes.built_in().values())).python).parents[1]
PACKAGES = next(RUNTIME.glob("lib/python3*/site-packages"))
LIB = f"lib/{PACKAGES.parent.name}/site-packages"
FLASK = ("flask", "werkzeug", "jinja2", "markupsafe", "itsdangerous", "click", "blinker")
FASTAPI = (
    *("fastapi", "starlette", "pydantic", "pydantic_core", "anyio", "idna"),
    *("annotated_doc", "annotated_types", "typing_extensions", "typing_inspection", "opentelemetry_api"),
)
ASK = """
import importlib, json, os, site, subprocess, sys, time

def about(name):
    try:
        module = importlib.import_module(name)
    except ImportError:
        return None
    return [getattr(module, "__version__", None), module.__file__]

def answer():
    from importlib import metadata
    return json.dumps({
        "prefix": sys.prefix, "base": sys.base_prefix, "executable": sys.executable, "path": sys.path,
        "argv0": sys.argv[0], "env": dict(os.environ),
        "modules": {name: about(name) for name in os.environ["ASK"].split(",")},
        "distributions": sorted({each.metadata["Name"].lower() for each in metadata.distributions()}),
        "zone": time.tzname, "user_base": site.getuserbase(),
        "options": subprocess._args_from_interpreter_flags(),
        "child": subprocess.run(
            ["python", "-c", "import sys; print(sys.prefix)"], capture_output=True, text=True
        ).stdout.strip(),
    }).encode()
"""
WSGI = (
    ASK
    + """
def application(environ, start_response):
    body = answer()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
"""
)
ASGI = (
    ASK
    + """
async def app(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": answer()})
"""
)


class Env:
    """A virtualenv of alice's, as `python3 -m venv` makes it, with packages copied from the runtime."""

    def __init__(self, node: Node, name: str, *packages: str) -> None:
        node.tenant("alice")
        self.node, self.path = node, f"/home/alice/{name}"
        made = node.cli("tenant", "run", "alice", "--", "python3", "-m", "venv", "--without-pip", self.path)
        assert made.returncode == 0, made.stderr
        self.root = node.layout.on_host("alice", self.path)
        self.packages = self.root / LIB
        for package in packages:
            self.add(package)

    def add(self, package: str, version: str = "") -> None:
        """Copy a distribution; with a `version`, as if it were another one."""
        info = next(
            each for each in PACKAGES.glob("*.dist-info") if each.name.lower().startswith(f"{package}-")
        )
        tops = {row.split("/")[0].split(",")[0] for row in (info / "RECORD").read_text().splitlines()}
        for top in tops - {info.name, "..", ""}:
            copy = shutil.copytree if (PACKAGES / top).is_dir() else shutil.copy
            copy(PACKAGES / top, self.packages / top)
        known = info.name[len(package) + 1 : -len(".dist-info")]
        copied = self.packages / info.name.replace(known, version or known)
        shutil.copytree(info, copied)
        if version:
            text = (copied / "METADATA").read_text()
            (copied / "METADATA").write_text(text.replace(f"Version: {known}", f"Version: {version}"))
            with (self.packages / package / "__init__.py").open("a") as file:
                file.write(f"\n__version__ = {version!r}\n")
        self.own()

    def own(self) -> None:
        uid = self.node.uid("alice")
        for each in (self.packages, *self.packages.rglob("*")):
            os.chown(each, uid, uid)


def ask(
    node: Node,
    domain: str,
    env: Env | None,
    modules: str,
    *,
    kind: str = "wsgi",
    app: str = "",
    env_lines: str = "",
    before: str = "",
) -> dict:
    """What an app tells of its environment, in whose code `before` comes first."""
    lines = f'virtualenv = "{env.path}"\n' if env else ""
    code = before + (WSGI if kind == "wsgi" else ASGI)
    node.app(domain, code, kind=kind, app=lines + app, more=f'[env]\nASK = "{modules}"\n{env_lines}')
    answer = node.get(domain)
    assert answer.status == 200, (node.show(domain)["problems"], node.log(domain, "error"))
    return dict(json.loads(answer.text))


def origins(node: Node) -> dict[str, str]:
    """By domain of a serving worker: the name of the zygote that its first process was forked from."""
    found = {}
    for pid in node.pids():
        try:
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            parent = re.search(r"^PPid:\t(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
            assert parent
            found[name] = Path(f"/proc/{parent[1]}/comm").read_text().strip()
        except FileNotFoundError:
            continue
    return found


def test_from_the_runtime(node: Node) -> None:
    told = ask(node, "runtime-env.test", None, "flask,django,fastapi")
    assert all(told["modules"].values())
    assert told["prefix"].startswith("/opt/innkeeper/runtimes/")
    assert told["executable"] == told["prefix"] + "/bin/python"
    assert told["child"] == told["prefix"]
    assert origins(node)["ik runtime-env."] == "ik zygote"


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_own_packages_of_the_same_versions(node: Node, kind: str) -> None:
    env = Env(node, f"same-{kind}", *FLASK)
    domain = f"s{kind}-env.test"
    told = ask(node, domain, env, "flask,werkzeug,django,fastapi,uvicorn,click,anyio", kind=kind)
    assert [name for name, found in told["modules"].items() if found] == ["flask", "werkzeug", "click"]
    assert (told["prefix"], told["executable"]) == (env.path, f"{env.path}/bin/python")
    assert told["child"] == env.path
    assert told["distributions"] == sorted(FLASK)
    assert not [entry for entry in told["path"] if "innkeeper" in entry]
    assert told["env"]["VIRTUAL_ENV"] == env.path
    assert told["env"]["PATH"].startswith(f"{env.path}/bin:")
    assert origins(node)[f"ik {domain}"[:15]] == "ik zygote"


def test_a_module_that_can_not_be_imported_here_does_not_take_its_package_along(node: Node) -> None:
    """FastAPI alone: the zygote also has modules of Starlette's that need packages which are not there."""
    env = Env(node, "fastapi", *FASTAPI)
    modules = "fastapi,starlette.middleware,starlette.middleware.sessions,itsdangerous,jinja2"
    told = ask(node, "fastapi-env.test", env, modules, kind="asgi")
    assert [name for name, found in told["modules"].items() if found] == ["fastapi", "starlette.middleware"]
    assert origins(node)["ik fastapi-env."] == "ik zygote"
    told = ask(node, "shared-env.test", None, modules, kind="asgi")
    assert all(told["modules"].values())


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_own_packages_of_other_versions(node: Node, kind: str) -> None:
    env = Env(node, f"other-{kind}", *FLASK[1:])
    env.add("flask", "9.8.7")
    domain = f"o{kind}-env.test"
    told = ask(node, domain, env, "flask,werkzeug,django,uvicorn,uvloop", kind=kind)
    assert told["modules"]["flask"] == ["9.8.7", f"{env.path}/{LIB}/flask/__init__.py"]
    assert told["modules"]["django"] is told["modules"]["uvicorn"] is told["modules"]["uvloop"] is None
    assert told["path"][1:] == [*dict.fromkeys(told["path"][1:])]
    assert told["path"][-1] == f"{env.path}/{LIB}"


def test_machine_code_that_is_loaded_is_not_loaded_again(node: Node) -> None:
    """Of MarkupSafe a compiled part is loaded in the shared zygote: another version of it means another zygote."""
    env = Env(node, "compiled", *(name for name in FLASK if name != "markupsafe"))
    env.add("markupsafe", "1.2.3")
    told = ask(node, "compiled-env.test", env, "flask,markupsafe")
    assert told["modules"]["markupsafe"] == ["1.2.3", f"{env.path}/{LIB}/markupsafe/__init__.py"]
    assert told["modules"]["flask"][1].startswith(env.path)
    assert origins(node)["ik compiled-env"] == "ik zygote bare"


def test_an_editable_package_is_not_taken_for_the_released_one(node: Node) -> None:
    env = Env(node, "editable", *FLASK)
    info = next(env.packages.glob("flask-*.dist-info"))
    (info / "direct_url.json").write_text(
        '{"url": "file:///home/alice/flask", "dir_info": {"editable": true}}'
    )
    told = ask(node, "editable-env.test", env, "flask,werkzeug")
    assert told["modules"]["flask"][1].startswith(env.path)
    assert told["modules"]["werkzeug"][1].startswith("/opt/innkeeper")  # the very same


def test_the_apps_own_module_comes_first(node: Node) -> None:
    node.tenant("alice")
    node.put("alice", "/home/alice/shadowing/flask.py", "__version__ = 'mine'")
    told = ask(node, "shadow-env.test", None, "flask,werkzeug", app='directory = "/home/alice/shadowing"')
    assert told["modules"]["flask"] == ["mine", "/home/alice/shadowing/flask.py"]


@pytest.mark.parametrize(
    "put_first",
    [
        "sys.path.insert(0, VENDOR)",
        "sys.path = [VENDOR] + sys.path",
        "sys.path[:0] = [VENDOR]",
        "sys.path = [VENDOR, *sys.path]; sys.path.insert(0, '/nowhere')",
    ],
)
@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_a_directory_that_the_app_puts_first_comes_first(node: Node, put_first: str, kind: str) -> None:
    """As vendored packages are used; what the app had imported by then stays, and so does what nobody shadows."""
    node.tenant("alice")
    node.put("alice", "/home/alice/vendored/flask.py", "__version__ = 'vendored'")
    node.put("alice", "/home/alice/vendored/requests.py", "__version__ = 'vendored'")
    before = f"import sys, requests\nVENDOR = '/home/alice/vendored'\n{put_first}\n"
    told = ask(node, "vendored-env.test", None, "flask,werkzeug,requests", kind=kind, before=before)
    if not put_first.startswith("sys.path = [VENDOR, *"):  # a list of the app's own tells nobody
        assert told["modules"]["flask"] == ["vendored", "/home/alice/vendored/flask.py"]
    assert told["modules"]["werkzeug"][1].startswith("/opt/innkeeper")
    assert told["modules"]["requests"][1].startswith("/opt/innkeeper")
    assert told["path"][0] in ("/home/alice/vendored", "/nowhere")


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_what_was_found_out_before_the_environment_was_set_is_found_out_again(node: Node, kind: str) -> None:
    told = ask(node, "late-env.test", None, "flask", kind=kind, env_lines='TZ = "Asia/Tokyo"\n')
    assert told["zone"] == ["JST", "JST"]
    assert told["user_base"] == "/home/alice/.local"


def test_the_runtimes_programs_run_in_the_sandbox(node: Node) -> None:
    node.tenant("alice")
    done = node.cli("tenant", "run", "alice", "--", "sh", "-c", "flask --version && django-admin version")
    assert "Flask" in done.stdout, done


def test_what_an_app_starts_has_its_packages(node: Node) -> None:
    """Libraries start children with the options that `sys.flags` tells of."""
    told = ask(node, "children-env.test", None, "flask")
    assert told["options"] == []


def test_what_was_looked_for_in_vain_and_is_there_now(node: Node) -> None:
    """Werkzeug uses `watchdog` where there is one; with one, the preloaded Werkzeug may not be the right one."""
    env = Env(node, "optional", *FLASK)
    (env.packages / "site_marker.pth").write_text("import os; os.environ['PTH'] = 'run'\n")
    (env.packages / "cryptography").mkdir()
    (env.packages / "cryptography/__init__.py").write_text("")
    env.own()
    told = ask(node, "optional-env.test", env, "flask,werkzeug")
    assert told["env"]["PTH"] == "run"
    assert told["modules"]["flask"]


def test_a_virtualenv_with_the_systems_packages(node: Node) -> None:
    env = Env(node, "system")
    config = env.root / "pyvenv.cfg"
    config.write_text(config.read_text().replace("= false", "= true"))
    told = ask(node, "system-env.test", env, "flask,django")
    assert not any(told["modules"].values())
    assert "/usr/lib/python3/dist-packages" in told["path"] or "/usr/local/lib" in str(told["path"])


def test_packages_that_change_are_followed_by_a_reload(node: Node) -> None:
    env = Env(node, "changing", *FLASK)
    domain = "changing-env.test"
    told = ask(node, domain, env, "flask")
    assert told["modules"]["flask"][1].startswith("/opt/innkeeper")
    shutil.rmtree(env.packages / "flask")
    shutil.rmtree(next(env.packages.glob("flask-*.dist-info")))
    env.add("flask", "1.0.1")
    assert node.cli("site", "reload", domain).returncode == 0
    await_true(lambda: json.loads(node.get(domain).text)["modules"]["flask"][0] == "1.0.1", 10)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda root: shutil.rmtree(root), "there is no such directory"),
        (lambda root: (root / "pyvenv.cfg").unlink(), "has no pyvenv.cfg"),
        (lambda root: (root / "bin/python").unlink(), "has no bin/python"),
        (lambda root: shutil.rmtree(root / "lib"), "has no lib/python3"),
        (lambda root: _relink(root, "/usr/bin/python3.4"), "bin/python leads to /usr/bin/python3.4"),
    ],
)
def test_a_broken_virtualenv_is_told_of(node: Node, damage: object, said: str) -> None:
    domain = "broken-env.test"
    env = Env(node, f"broken-{abs(hash(said))}", "click")
    damage(env.root)  # type: ignore[operator]
    node.app(domain, WSGI, app=f'virtualenv = "{env.path}"', more='[env]\nASK = "click"')
    assert node.get(domain).status == 500
    (problem,) = [each for each in node.show(domain)["problems"] if each["code"] == "virtualenv-broken"]
    assert said in problem["message"]
    assert f"python3 -m venv --clear {env.path}" in problem["hint"]
    subprocess.run(node.command("tenant", "run", "alice", "--", "rm", "-rf", env.path), check=True)
    made = node.cli("tenant", "run", "alice", "--", "python3", "-m", "venv", "--without-pip", env.path)
    assert made.returncode == 0
    node.put("alice", "/var/www/broken-env_test.py", WSGI)  # touched, as the hint says
    await_true(lambda: node.get(domain).status == 200, 10)
    node.remove(domain)
    await_true(lambda: node.get(domain).status == 404, 10)


def _relink(root: Path, target: str) -> None:
    (root / "bin/python").unlink()
    (root / "bin/python").symlink_to(target)


def test_a_virtualenv_of_a_python_that_has_no_runtime_is_executed(node: Node) -> None:
    """A Python 3.99, which is in truth this one, but looks for packages where a 3.99 would."""
    env = Env(node, "foreign")
    packages = env.root / "lib/python3.99/site-packages"
    shutil.move(env.root / LIB, packages)
    shutil.rmtree(env.root / "lib" / PACKAGES.parent.name)
    python = os.path.realpath(RUNTIME / "bin/python")
    (env.root / "bin/python").unlink()
    (env.root / "bin/python").write_text(
        f'#!/bin/bash\nexport PYTHONPATH={env.path}/lib/python3.99/site-packages\nexec -a "$0" {python} "$@"\n'
    )
    (env.root / "bin/python").chmod(0o755)
    domain = "foreign-env.test"
    node.app(domain, WSGI, app=f'virtualenv = "{env.path}"', more='[env]\nASK = "flask,click"')
    assert node.get(domain).status == 500
    message = node.show(domain)["problems"][0]["message"]
    assert f"`{env.path}/bin/pip install pyuwsgi`" in message
    for file in PACKAGES.glob("pyuwsgi*.so"):
        shutil.copy(file, packages)
    for part in PACKAGES.glob("click*"):
        shutil.copytree(part, packages / part.name)
    node.touch(domain, WSGI)
    await_true(lambda: node.get(domain).status == 200, 10)
    told = json.loads(node.get(domain).text)
    assert told["modules"]["flask"] is None
    assert told["modules"]["click"][1].startswith(f"{env.path}/lib/python3.99")
    assert not [entry for entry in told["path"] if "/fd/" in entry or "innkeeper" in entry]
