"""Names and paths: what is accepted, its normal form, and that nothing dangerous ever is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from innkeeper.spec import limits, names, values

# Hypothesis makes its tables of characters at its first run on a machine, which takes seconds.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
RULES: dict[str, Callable[[str], str]] = {
    "tenant_name": names.tenant_name,
    "runtime_name": names.runtime_name,
    "domain": names.domain,
    "path": names.path,
    "tenant_path": lambda text: names.tenant_path(text, "alice"),
    "url_prefix": names.url_prefix,
    "module": names.module,
    "entry": names.entry,
    "env_name": values.env_name,
    "password_user": values.password_user,
    "python": values.python,
    "system_user": values.system_user,
    "size": values.size,
}
DANGEROUS = "\0\n\r\t\x1b\x7f\x85\u2028\u202e'\"`$\\;{}()<>|&*?%#![]"
LONGEST = limits.MAX_PATH + limits.MAX_MODULE

# Letters that make names and signs that should not, in any mixture, surrogates among them.
HOSTILE = st.text(st.sampled_from("abz09AZ-_./:@~=, ßéİΣ한\u0301\ud800🐍" + DANGEROUS), max_size=40)
NEARLY = st.one_of(
    HOSTILE,
    st.text(max_size=300),
    HOSTILE.map(lambda text: "/home/alice/" + text),
    HOSTILE.map(lambda text: "/var/www/" + text + "/bin/python"),
    HOSTILE.map(lambda text: "xn--" + text),
    HOSTILE.map(lambda text: text + "/../x"),
)


def accepted(rule: Callable[[str], str], text: str) -> str | None:
    try:
        return rule(text)
    except ValueError as error:
        assert str(error).isprintable() and len(str(error)) > 20
        return None


@pytest.mark.parametrize("name", RULES)
@PATIENT
@given(text=NEARLY)
@example(text="")
@example(text=".")
@example(text="a\n")
@example(text="a" * 10_000)
@example(text="/" * 10_000)
@example(text="é" * 380)
@example(text="K" * 20)  # the Kelvin sign, whose lower case is k
def test_nothing_dangerous_passes_and_the_normal_form_is_a_fixed_point(name: str, text: str) -> None:
    rule = RULES[name]
    normal = accepted(rule, text)
    if normal is None:
        return
    assert rule(normal) == normal
    assert not set(normal) & set(DANGEROUS)
    assert normal.isprintable() and normal
    assert len(normal.encode()) <= LONGEST * 4
    assert not {"..", "."} & set(normal.split("/"))
    assert "//" not in normal


@pytest.mark.parametrize("name", ["a", "alice", "a1", "a-b", "x" * limits.MAX_TENANT])
def test_tenant_names(name: str) -> None:
    assert names.tenant_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Alice",
        "1a",
        "-a",
        "a-",
        "a_b",
        "a.b",
        "é",
        "x" * 33,
        "alice\n",
        "..",
        "root",
        "www-data",
        "systemd-x",
    ],
)
def test_what_is_no_tenant_name(name: str) -> None:
    with pytest.raises(ValueError, match="tenant"):
        names.tenant_name(name)


@pytest.mark.parametrize(
    ("given_name", "normal"),
    [
        ("example.org", "example.org"),
        ("Blog.Example.ORG.", "blog.example.org"),
        ("localhost", "localhost"),
        ("a", "a"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("straße.de", "xn--strae-oqa.de"),
        ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
        ("ZERO\u200bwidth.example", "zerowidth.example"),
        ("r3---sn.example", "r3---sn.example"),
        ("1.2.3.4.example", "1.2.3.4.example"),
        ("a" * 63 + "." + "b" * 32, "a" * 63 + "." + "b" * 32),
    ],
)
def test_domains(given_name: str, normal: str) -> None:
    assert names.domain(given_name) == normal


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "labels"),
        (".", "labels"),
        ("a..b", "labels"),
        ("a.b..", "labels"),
        (".a", "labels"),
        ("-a.b", "labels"),
        ("a-.b", "labels"),
        ("a_b.c", "labels"),
        ("a b", "labels"),
        ("a/b", "labels"),
        ("../etc", "labels"),
        ("a%2e", "labels"),
        ("*.example.org", "labels"),
        ("example.org:80", "labels"),
        ("example.org\n", "labels"),
        ("10.0.0.1", "not a number"),
        ("[::1]", "labels"),
        ("a" * 64 + ".b", "63 bytes"),
        (".".join(["a" * 48, "b" * 48]), "96 bytes"),
        ("a." * 200 + "b", "96 bytes"),
        ("xn--zzzzzzzz99999", "xn--"),
        ("xn--a", "xn--"),
        ("☃️.", "IDNA"),
        ("\ud800.org", "IDNA"),
    ],
)
def test_what_is_no_domain(name: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        names.domain(name)


def test_a_domain_leaves_room_for_its_socket() -> None:
    longest = names.domain(".".join(["a" * 47, "b" * 48]))
    assert len(f"sites/{longest}/sock") < 108
    assert len(f"live/{longest}/sock") < 108


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("/home/alice", "/home/alice"),
        ("/home/alice/", "/home/alice"),
        ("/home/alice//my site/Größe.txt", "/home/alice/my site/Größe.txt"),
        ("/var/www/.well-known/a@b,c=d~e+f-g", "/var/www/.well-known/a@b,c=d~e+f-g"),
        ("/tmp/हिन्दी", "/tmp/हिन्दी"),
    ],
)
def test_tenant_paths(text: str, normal: str) -> None:
    assert names.tenant_path(text, "alice") == normal


@pytest.mark.parametrize(
    "text",
    [
        "",
        "blog",
        "~/blog",
        "/",
        "/home",
        "/home/alice2",
        "/home/bob/x",
        "/home/alice/../bob",
        "/home/alice/./x",
        "/var/www-data",
        "/var/wwwx",
        "/etc/passwd",
        "/var/log/x",
        "/tmp/a\0b",
        "/tmp/a\nb",
        '/tmp/a"b',
        "/tmp/$HOME",
        "/tmp/a\\b",
        "/tmp/\u202egpj",
        "/tmp/\ud800",
        "/tmp/ a",
        "/tmp/a:b",
        "/tmp/" + "x" * 256,
        "/tmp/" + "x/" * 600,
    ],
)
def test_what_is_no_tenant_path(text: str) -> None:
    with pytest.raises(ValueError, match="path"):
        names.tenant_path(text, "alice")


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("/", "/"),
        ("/static", "/static"),
        ("/static/", "/static"),
        ("/a/b/c/d/", "/a/b/c/d"),
        ("/.well-known/x", "/.well-known/x"),
        ("/favicon.ico", "/favicon.ico"),
        ("/médias/", "/médias"),
    ],
)
def test_url_prefixes(text: str, normal: str) -> None:
    assert names.url_prefix(text) == normal


@pytest.mark.parametrize(
    "text",
    [
        "",
        "static/",
        "//",
        "/a//b",
        "/a//",
        "/..",
        "/a/../b",
        "/./a",
        "/a/b/c/d/e",
        "/a%20b",
        "/a?b",
        "/a#b",
        "/a\n",
        "/a\0",
        '/a"b',
        "/$uri",
        "/{x}",
        "/" + "x" * 201,
        "/" + "é" * 101,
    ],
)
def test_what_is_no_url_prefix(text: str) -> None:
    with pytest.raises(ValueError, match=r"URL prefix|path"):
        names.url_prefix(text)


@pytest.mark.parametrize(
    ("text", "target", "callable_name"),
    [
        ("blog", "blog", None),
        ("blog.wsgi", "blog.wsgi", None),
        ("blog.main:app", "blog.main", "app"),
        ("blog:factory.app", "blog", "factory.app"),
        ("/var/www/wsgi.py", "/var/www/wsgi.py", None),
        ("/var/www//wsgi.py:app", "/var/www/wsgi.py", "app"),
        ("/var/www/my site/app.wsgi", "/var/www/my site/app.wsgi", None),
    ],
)
def test_entries(text: str, target: str, callable_name: str | None) -> None:
    assert names.split_entry(names.entry(text)) == (target, callable_name)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        ":app",
        "blog:",
        "blog:app:x",
        "blog:app()",
        "blog app",
        "blog-main",
        ".blog",
        "blog.",
        "blog..main",
        "1blog",
        "wsgi.py",
        "wsgi.py:app",
        "blog/wsgi.py",
        "/var/www/",
        "/var/www/a:b:c",
        "/var/www/../x.py",
        "/var/www/x.py:",
        "x" * 201,
        "os;import sys",
        "a\nb",
    ],
)
def test_what_is_no_entry(text: str) -> None:
    with pytest.raises(ValueError, match=r"module|file|path"):
        names.entry(text)


@pytest.mark.parametrize("text", ["python3.11", "python3.11-django", "pypy", "a" * 32])
def test_runtime_names(text: str) -> None:
    assert names.runtime_name(text) == text


@pytest.mark.parametrize("text", ["", "3.11", ".x", "a..b", "a/b", "Python", "a.", "a" * 33, "a_b"])
def test_what_is_no_runtime_name(text: str) -> None:
    with pytest.raises(ValueError, match="runtime"):
        names.runtime_name(text)


def test_a_factory_is_not_called_and_the_way_is_told() -> None:
    with pytest.raises(
        ValueError, match="`from blog import create_app` and `application = create_app\\(\\)`"
    ):
        names.entry("blog:create_app()")
