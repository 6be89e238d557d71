"""Site files: what they become."""

from __future__ import annotations

import json

import msgspec
import pytest

from innkeeper.spec import limits
from innkeeper.spec.node import NodeSettings
from innkeeper.spec.problem import Problem, SpecError
from innkeeper.spec.site import AppSpec, HttpsSpec, PasswordSpec, SiteSpec, StaticSpec, parse_site

LARGEST = """
tenant  = "alice"
aliases = ["www.blog.example.org", "Bücher.example."]
enabled = false
[app]
asgi = "blog.main:app"
directory = "/home/alice/blog/"
runtime = "python3.11"
virtualenv = "/home/alice/.virtualenvs/blog"
processes = 2
threads = 8
timeout = 30
idle = 0
[env]
DJANGO_SETTINGS_MODULE = "blog.settings"
[[static]]
url = "/static/"
path = "/home/alice/blog/static"
[[static]]
url = "/"
path = "/var/www"
[https]
force = true
[password]
user = "guest"
hash = "$2y$05$bvIG6Nmid91Mu9RcmmWZfO5HJIMCT8riNW0hEp8f6/FuA2/mHZFpe"
"""


def parse(text: str, domain: str = "blog.example.org") -> SiteSpec:
    return parse_site(domain, text, file=f"{domain}.toml")


def problem_of(text: str, domain: str = "blog.example.org") -> Problem:
    with pytest.raises(SpecError) as caught:
        parse(text, domain)
    return caught.value.problem


def app(lines: str) -> AppSpec:
    spec = parse(f'tenant = "alice"\n[app]\n{lines}')
    assert spec.app is not None
    return spec.app


def test_the_smallest_site_file() -> None:
    spec = parse('tenant = "alice"\n[app]\nwsgi = "/var/www/blog_wsgi.py"\n')
    assert spec == SiteSpec(
        domain="blog.example.org", tenant="alice", app=AppSpec(wsgi="/var/www/blog_wsgi.py")
    )
    assert spec.app is not None
    assert (spec.app.processes, spec.app.threads, spec.app.timeout, spec.app.idle) == (1, 4, 300, 900)


def test_the_largest_site_file() -> None:
    assert parse(LARGEST) == SiteSpec(
        domain="blog.example.org",
        tenant="alice",
        aliases=("www.blog.example.org", "xn--bcher-kva.example"),
        enabled=False,
        app=AppSpec(
            asgi="blog.main:app",
            directory="/home/alice/blog",
            runtime="python3.11",
            virtualenv="/home/alice/.virtualenvs/blog",
            processes=2,
            threads=8,
            timeout=30,
            idle=0,
        ),
        env={"DJANGO_SETTINGS_MODULE": "blog.settings"},
        static=(
            StaticSpec(url="/static", path="/home/alice/blog/static"),
            StaticSpec(url="/", path="/var/www"),
        ),
        https=HttpsSpec(force=True),
        password=PasswordSpec(
            user="guest", hash="$2y$05$bvIG6Nmid91Mu9RcmmWZfO5HJIMCT8riNW0hEp8f6/FuA2/mHZFpe"
        ),
    )


def test_a_static_site_has_no_app() -> None:
    spec = parse('tenant = "alice"\n[[static]]\nurl = "/"\npath = "/var/www"\n')
    assert spec.app is None


def test_windows_line_ends_make_no_difference() -> None:
    assert parse(LARGEST.replace("\n", "\r\n")) == parse(LARGEST)


def test_a_spec_survives_json() -> None:
    spec = parse(LARGEST)
    assert msgspec.json.decode(msgspec.json.encode(spec), type=SiteSpec) == spec


def test_a_spec_is_small_and_unseen_by_the_garbage_collector() -> None:
    import gc

    spec = parse(LARGEST)
    assert not gc.is_tracked(spec)
    assert not gc.is_tracked(spec.app)
    assert parse(LARGEST).tenant is spec.tenant


@pytest.mark.parametrize(
    ("line", "kind", "target", "callable_name"),
    [
        ('wsgi = "/var/www/wsgi.py"', "wsgi", "/var/www/wsgi.py", None),
        ('wsgi = "/var/www/wsgi.py:app"', "wsgi", "/var/www/wsgi.py", "app"),
        ('wsgi = "blog.wsgi"', "wsgi", "blog.wsgi", None),
        ('asgi = "blog:create.app"', "asgi", "blog", "create.app"),
        ('asgi = "/home/alice/a.py:app"', "asgi", "/home/alice/a.py", "app"),
        ('command = "node a.js --x:y"', "command", "node a.js --x:y", None),
    ],
)
def test_the_entry_of_an_app(line: str, kind: str, target: str, callable_name: str | None) -> None:
    found = app(line)
    assert (found.kind, found.target, found.callable) == (kind, target, callable_name)


@pytest.mark.parametrize(
    ("key", "least", "most"),
    [
        ("processes", 1, 64),
        ("threads", 1, 256),
        ("timeout", 1, 86_400),
        ("idle", 0, 86_400 * 30),
        ("longest", 0, 86_400 * 30),
    ],
)
def test_ranges(key: str, least: int, most: int) -> None:
    for number in (least, most):
        assert getattr(app(f'wsgi = "x"\n{key} = {number}'), key) == number
    for number in (least - 1, most + 1, 10**30):
        problem = problem_of(f'tenant = "alice"\n[app]\nwsgi = "x"\n{key} = {number}')
        assert f"`{key}`" in problem.message
        assert f"from {least} to {most}" in problem.message


def test_the_nodes_time_limits_hold_where_the_app_names_none() -> None:
    settings = NodeSettings(timeout=60, idle=7)
    text = 'tenant = "alice"\n[app]\nwsgi = "x"\nidle = 1\n'
    spec = parse_site("a.org", text, file="a.org.toml", settings=settings)
    assert spec.app is not None
    assert (spec.app.timeout, spec.app.idle) == (60, 1)
    assert parse_site("a.org", 'tenant = "alice"', file="a.org.toml", settings=settings).app is None


def test_other_aliases() -> None:
    spec = parse(LARGEST)
    assert spec.with_aliases(["a.org"]).aliases == ("a.org",)
    assert spec.with_aliases(spec.aliases) == spec


@pytest.mark.parametrize(
    "path",
    [
        "/etc",
        "/home/bob",
        "/home/alice/../bob",
        "/var/log",
        "relative",
        "/home/alicex",
        "/tmp/$x",
        '/tmp/"',
        "",
    ],
)
def test_paths_stay_inside_the_tenants_places(path: str) -> None:
    shown = json.dumps(path)
    for lines in (
        f"[app]\nwsgi = {shown}" if path.startswith("/") else f"[app]\nwsgi = {json.dumps('x/' + path)}",
        f'[app]\nwsgi = "x"\ndirectory = {shown}',
        f'[app]\nwsgi = "x"\nvirtualenv = {shown}',
        f'[[static]]\nurl = "/"\npath = {shown}',
    ):
        assert problem_of(f'tenant = "alice"\n{lines}').code == "site-invalid"


def test_lists_and_tables_have_an_end() -> None:
    many = ", ".join(f'"a{number}.org"' for number in range(limits.MAX_ALIASES + 1))
    assert "at most 100" in problem_of(f'tenant = "alice"\naliases = [{many}]').message
    many = "\n".join(f'A{number} = ""' for number in range(limits.MAX_ENV + 1))
    assert "at most 500" in problem_of(f'tenant = "alice"\n[env]\n{many}').message


@pytest.mark.parametrize(
    ("domain", "words"),
    [
        ("Blog.example.org", "Rename the file to blog.example.org.toml."),
        ("bücher.example", "Rename the file to xn--bcher-kva.example.toml."),
        ("blog.example.org.", "Rename the file to blog.example.org.toml."),
        ("blog_example", "Name the file DOMAIN.toml"),
        ("../../etc/passwd", "Name the file DOMAIN.toml"),
        ("x" * 300, "Name the file DOMAIN.toml"),
        ("bad\udcff\n", "Name the file DOMAIN.toml"),
    ],
)
def test_the_files_name_is_the_domain_in_normal_form(domain: str, words: str) -> None:
    problem = problem_of('tenant = "alice"', domain)
    assert words in problem.hint
    assert problem.message.isprintable()


def test_secrets_are_not_shown() -> None:
    for text in (
        '[password]\nuser = "a"\nhash = "hunter2"',
        "[env]\nX = 1234567",
        '[env]\nX = "hunter2\\u0000"',
        '[env]\nX = ["hunter2"]',
        "[env]\nX = hunter2",
        '[env]\nX = "hunter2',
        '[env]\n"hunter\n',
    ):
        problem = problem_of(f'tenant = "alice"\n{text}')
        assert "hunter2" not in problem.message + problem.hint
        assert "1234567" not in problem.message + problem.hint


def test_a_short_file_that_would_need_gigabytes_is_refused() -> None:
    bomb = ".".join("a" * 30_000) + " = 1"
    assert "dots" in problem_of(bomb).message
    assert "at most 65536" in problem_of("#" * 70_000).message


@pytest.mark.parametrize("text", ["a = " + "[" * 60_000, "a = " + "{a=" * 20_000, "a = " + "9" * 60_000])
def test_deep_and_long_values_are_refused(text: str) -> None:
    assert problem_of(text).hint
