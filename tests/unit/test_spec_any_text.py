"""Whatever the text: a spec or a Problem that can be shown, and nothing dangerous in the spec."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from innkeeper.spec import names
from innkeeper.spec.node import parse_node
from innkeeper.spec.problem import SpecError
from innkeeper.spec.runtime import parse_runtime
from innkeeper.spec.site import SiteSpec, parse_site
from innkeeper.spec.tenant import TenantSpec, parse_tenant, render_tenant

# Hypothesis makes its tables of characters at its first run on a machine, which takes seconds.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
GOOD = """tenant = "alice"
aliases = ["www.a.org"]
enabled = true
[app]
wsgi = "/var/www/wsgi.py:app"
directory = "/home/alice/blog"
runtime = "python3.11"
processes = 2
[env]
A = "b"
[[static]]
url = "/static/"
path = "/tmp/x"
[https]
force = true
"""
DANGEROUS = set("\0\n\r\t\x1b\x7f\u2028\u202e'\"`$\\;{}")
SNIPPETS = [
    *"\"=[]{}.,#\n\t \\\x00\x7f�é'/$",
    '"""',
    "[app]",
    "[[static]]",
    "\r\n",
    "\\u0000",
    "\\ud800",
    "nan",
    "-inf",
    "0x_1",
    "1e9999",
    "99999999999",
    "1979-05-27T07:32:00Z",
    "07:32:00",
    "{a=1}",
    "[]",
    "..",
    "/../",
    "$(id)",
    "\\n",
    "true",
    "password",
    "url",
]


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """A good file with some places cut, doubled or overwritten."""
    text = GOOD
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        text = text[:start] + draw(st.sampled_from([*SNIPPETS, text[start:end] * 2, ""])) + text[end:]
    return text


VALUES = st.recursive(
    st.one_of(
        st.integers(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=20)
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=4,
)
KEYS = [
    "tenant",
    "aliases",
    "enabled",
    "app",
    "env",
    "static",
    "https",
    "password",
    "domain",
    "wsgi",
    "url",
    "path",
]


@st.composite
def shaped(draw: st.DrawFn) -> str:
    """TOML whose keys are right, mostly, and whose values are anything."""
    data = draw(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=5))
    data.setdefault("tenant", draw(st.sampled_from(["alice", "a\nb", "..", 3])))
    if draw(st.booleans()):
        data["app"] = draw(
            st.dictionaries(st.sampled_from(["wsgi", "command", "threads", "directory"]), VALUES)
        )
    return "\n".join(f"{key} = {inline(value)}" for key, value in data.items())


def inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {inline(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(inline, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


ANYTHING = st.one_of(damaged(), shaped(), st.text(st.characters(), max_size=200))


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from strings(key)
            yield from strings(one)
    elif isinstance(value, list):
        for one in value:
            yield from strings(one)


def assert_safe(spec: SiteSpec) -> None:
    """Nothing that goes into a path or a generated text holds anything but names."""
    data = msgspec.to_builtins(spec, builtin_types=())
    environment, hash_, command = data.pop("env"), (data["password"] or {}).pop("hash", ""), None
    if data["app"]:
        command = data["app"].pop("command")
    for text in strings(data):
        assert not set(text) & DANGEROUS
        assert text.isprintable()
        assert ".." not in text.split("/")
        assert len(text) < 1300
    for text in strings(environment):
        assert "\0" not in text
        text.encode()
    assert command is None or command.isprintable()
    assert not set(hash_) & set("\0\n\r:'\"")
    for path in (*(one.path for one in spec.static), *([spec.app.directory] if spec.app else [])):
        assert path is None or names.tenant_path(path, spec.tenant) == path


def assert_tells(error: SpecError, file: str) -> None:
    """A Problem fit for a terminal, a log and a web page."""
    problem = error.problem
    for text in (problem.message, problem.hint):
        assert text.isprintable()
        assert 5 < len(text) < 1200
    assert problem.message.startswith(f"{file}: ")
    for word in ("Expected `", "msgspec", " - at `$", "object of type", "(at line"):
        assert word not in problem.message


@PATIENT
@given(ANYTHING)
def test_any_text_gives_a_safe_site_or_a_problem(text: str) -> None:
    try:
        spec = parse_site("blog.example.org", text, file="blog.example.org.toml")
    except SpecError as error:
        assert_tells(error, "blog.example.org.toml")
    else:
        assert_safe(spec)
        assert msgspec.json.decode(msgspec.json.encode(spec), type=SiteSpec) == spec


@PATIENT
@given(st.text(st.characters(), max_size=120))
def test_any_file_name_gives_a_site_or_a_problem(domain: str) -> None:
    try:
        spec = parse_site(domain, 'tenant = "alice"', file=f"{domain}.toml")
    except SpecError as error:
        assert error.problem.message.isprintable()
        assert error.problem.hint.isprintable()
    else:
        assert spec.domain == domain == names.domain(domain)


@PATIENT
@given(ANYTHING)
def test_any_text_for_the_other_files(text: str) -> None:
    for parse in (
        lambda: parse_tenant("alice", text, file="f.toml"),
        lambda: parse_runtime("python3.11", text, file="f.toml"),
        lambda: parse_node(text, file="f.toml"),
    ):
        try:
            parse()
        except SpecError as error:
            assert_tells(error, "f.toml")


@PATIENT
@given(st.integers(1000, 2**31 - 1).filter(lambda number: number not in (65_534, 65_535)))
def test_a_tenants_file_is_read_as_it_was_written(uid: int) -> None:
    spec = TenantSpec(name="alice", uid=uid)
    assert parse_tenant("alice", render_tenant(spec), file="alice.toml") == spec


def test_the_good_file_is_good() -> None:
    assert_safe(parse_site("a.org", GOOD, file="a.org.toml"))


@pytest.mark.parametrize("name", ["../x", "a\nb", "A", "", "\udcff"])
def test_tenants_and_runtimes_of_bad_names(name: str) -> None:
    with pytest.raises(SpecError, match="file's name"):
        parse_tenant(name, "uid = 2000", file=f"{name}.toml")
    with pytest.raises(SpecError, match="file's name"):
        parse_runtime(name, 'python = "/opt/x/bin/python"', file=f"{name}.toml")
