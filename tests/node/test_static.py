"""Static files: served by nginx, with the site asleep, and never a file that is not the tenant's."""

from __future__ import annotations

import base64
import gzip
import os
import time

import pytest

from tests.node.harness import Node, await_true


@pytest.fixture(scope="module")
def static(node: Node) -> Node:
    """static.test: an app, and several mappings."""
    node.app(
        "static.test",
        """
def application(environ, start_response):
    start_response("200 OK", [])
    return [b"app " + environ["PATH_INFO"].encode()]
""",
        more="""
[[static]]
url = "/static/"
path = "/home/alice/public"
[[static]]
url = "/deep/er/"
path = "/home/alice/deeper"
[[static]]
url = "/robots.txt"
path = "/home/alice/public/robots.txt"
""",
    )
    node.put("alice", "/home/alice/public/a.txt", "0123456789")
    node.put("alice", "/home/alice/public/robots.txt", "User-agent: *\n")
    node.put("alice", "/home/alice/public/style.css", "body { color: red }\n" * 200)
    node.put("alice", "/home/alice/public/style.css.gz", gzip.compress(b"compressed beforehand"))
    node.put("alice", "/home/alice/public/index.html", "<p>index")
    node.put("alice", "/home/alice/public/.env", "SECRET=1")
    node.put("alice", "/home/alice/public/letters ü.txt", "umlaut")
    node.put("alice", "/home/alice/deeper/b.js", "let b")
    node.layout.tenant_home("alice").chmod(0o710)
    return node


def test_files_are_served_while_the_site_sleeps(static: Node) -> None:
    answer = static.get("static.test", "/static/a.txt")
    assert (answer.status, answer.text) == (200, "0123456789")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["ETag"]
    assert static.get("static.test", "/static/").text == "<p>index"
    assert static.get("static.test", "/robots.txt").text == "User-agent: *\n"
    assert static.get("static.test", "/deep/er/b.js").headers["Content-Type"].startswith("text/javascript")
    assert static.get("static.test", "/static/letters%20%C3%BC.txt").text == "umlaut"
    assert static.get("static.test", "/static/none.txt").status == 404
    assert static.get("static.test", "/static/.env").status == 404
    assert static.get("static.test", "/static/a.txt", method="POST", body=b"x").status == 405
    assert static.state("static.test") == "asleep"
    assert static.show("static.test")["wakes"] == 0


def test_ranges_etags_and_compression(static: Node) -> None:
    part = static.get("static.test", "/static/a.txt", headers={"Range": "bytes=2-4"})
    assert (part.status, part.text) == (206, "234")
    tag = static.get("static.test", "/static/a.txt").headers["ETag"]
    assert static.get("static.test", "/static/a.txt", headers={"If-None-Match": tag}).status == 304
    packed = static.get("static.test", "/static/style.css", headers={"Accept-Encoding": "gzip"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.body) == b"compressed beforehand"
    head = static.get("static.test", "/static/a.txt", method="HEAD")
    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", "10")


def test_a_changed_file_shows_at_once(static: Node) -> None:
    static.put("alice", "/home/alice/public/c.txt", "one")
    assert static.get("static.test", "/static/c.txt").text == "one"
    static.put("alice", "/home/alice/public/c.txt", "two")
    await_true(lambda: static.get("static.test", "/static/c.txt").text == "two", 3, step=0.1)


def test_links_to_what_is_not_the_tenants_are_refused(static: Node) -> None:
    public = static.layout.tenant_home("alice") / "public"
    uid = static.uid("alice")
    secret = static.root / "secret.txt"
    secret.write_text("another user's")
    secret.chmod(0o644)
    static.tenant("bob")
    static.put("bob", "/home/bob/open.txt", "bob's")
    static.layout.tenant_home("bob").chmod(0o755)
    for name, target in {
        "passwd": "/etc/passwd",
        "secret": str(secret),
        "bob": str(static.layout.tenant_home("bob") / "open.txt"),
        "bobdir": str(static.layout.tenant_home("bob")),
        "up": str(static.layout.run),
    }.items():
        os.symlink(target, public / name)
        os.lchown(public / name, uid, uid)
    try:
        for path in ("passwd", "secret", "bob", "bobdir/open.txt", "up/nginx.conf"):
            answer = static.get("static.test", f"/static/{path}")
            assert answer.status == 403, path
            assert "not open to visitors" in answer.text
        os.symlink("a.txt", public / "own")
        os.lchown(public / "own", uid, uid)
        assert static.get("static.test", "/static/own").text == "0123456789"
    finally:
        static.layout.tenant_home("bob").chmod(0o710)


def test_a_fifo_or_device_hangs_nobody(static: Node) -> None:
    public = static.layout.tenant_home("alice") / "public"
    os.mkfifo(public / "pipe", 0o644)
    began = time.monotonic()
    assert static.get("static.test", "/static/pipe", timeout=5).status in (403, 404)
    assert time.monotonic() - began < 2
    assert static.get("static.test", "/static/a.txt").status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/static/../../../etc/passwd",
        "/static/..%2f..%2f..%2fetc/passwd",
        "/static/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/static/..%5c..%5cetc/passwd",
        "/static/a.txt%00.html",
        "/static//../../x",
    ],
)
def test_paths_that_climb(static: Node, path: str) -> None:
    answer = static.get("static.test", path)
    assert 400 <= answer.status < 500 or answer.text.startswith("app /")
    assert "root:" not in answer.text


@pytest.mark.parametrize(
    "host",
    [
        b"static.test/../x",
        b"..",
        b".static.test",
        b"a%2fb.test",
        b"a" * 300 + b".test",
        b"sta tic.test",
        b"-static.test",
        b"static_.test",
        b"[::1]",
        b"static.test\x00",
        b"\xff\xfe",
        b"$site",
        b"",
    ],
)
def test_absurd_hosts(static: Node, host: bytes) -> None:
    before = _node_log(static)
    reply = static.raw(b"GET /absurd HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n")
    assert reply.split()[1].startswith(b"4"), reply[:100]
    await_true(lambda: len(_node_log(static)) > len(before), 5)


def _node_log(node: Node) -> str:
    return (node.layout.node_logs / "access.log").read_text()


def test_unknown_hosts_go_to_the_nodes_log_only(static: Node) -> None:
    answer = static.get("unheard-of.test", "/some/path")
    assert answer.status == 404
    assert "no site at this address" in answer.text
    await_true(lambda: "unheard-of.test" in _node_log(static), 5)
    assert not (static.layout.logs / "unheard-of.test").exists()


def test_static_site_without_an_app(node: Node) -> None:
    node.tenant("carol")
    node.put("carol", "/home/carol/site/index.html", "front")
    node.put("carol", "/home/carol/site/about/index.html", "about")
    node.site("plain.test", 'tenant = "carol"\n[[static]]\nurl = "/"\npath = "/home/carol/site"\n')
    node.await_route("plain.test")
    assert node.get("plain.test").text == "front"
    assert node.get("plain.test", "/about/").text == "about"
    redirect = node.get("plain.test", "/about")
    assert (redirect.status, redirect.headers["Location"]) == (301, "/about/")
    missing = node.get("plain.test", "/none")
    assert missing.status == 404
    assert "nothing at this address" in missing.text
    assert node.state("plain.test") == "asleep"


def test_front_page_files_fall_through_to_the_app(node: Node) -> None:
    node.app(
        "front.test",
        "def application(environ, start):\n start('200 OK', [])\n return [b'app']\n",
        tenant="carol",
        more='[[static]]\nurl = "/"\npath = "/home/carol/front"',
    )
    node.put("carol", "/home/carol/front/file.txt", "file")
    assert node.get("front.test", "/file.txt").text == "file"
    assert node.show("front.test")["wakes"] == 0
    assert node.get("front.test", "/").text == "app"
    assert node.get("front.test", "/elsewhere").text == "app"
    assert node.get("front.test", "/", method="POST", body=b"x=y").text == "app"


def test_mappings_of_one_segment(node: Node) -> None:
    """They are found a shorter way, on which the same holds: the app gets what is not mapped to anything there is."""
    mappings = [
        f'[[static]]\nurl = "/{name}"\npath = "/home/alice/{name}"\n'
        for name in ("files", "absent", "elsewhere")
    ]
    node.app("short.test", more="".join(mappings))
    home = node.layout.tenant_home("alice")
    node.put("alice", "/home/alice/files/sub/a.txt", "file")
    node.put("alice", "/home/alice/files/.env", "secret")
    os.symlink("/etc", home / "elsewhere")
    os.lchown(home / "elsewhere", node.uid("alice"), node.uid("alice"))
    assert node.get("short.test", "/files/sub/a.txt").text == "file"
    assert node.get("short.test", "/files/sub/a.txt", method="POST", body=b"x").status == 405
    assert node.get("short.test", "/files/sub").status == 301
    assert [node.get("short.test", f"/files/{name}").status for name in ("b.txt", ".env", "sub/")] == [
        404,
        404,
        403,
    ]
    assert "root:" not in node.get("short.test", "/elsewhere/passwd").text
    for path in ("/", "/absent/a.txt", "/filesystem", "/other/files/sub/a.txt"):
        assert node.get("short.test", path).text == "hello"
        assert node.get("short.test", path, method="POST", body=b"x").text == "hello"


@pytest.mark.parametrize("url", ["/", "/short", "/deep/er"])
def test_mapping_that_changes_holds_at_once(node: Node, url: str) -> None:
    node.tenant("carol")
    for name in ("one", "two"):
        node.put("carol", f"/home/carol/{name}/f.txt", name)
    for name in ("one", "two", "one", "two"):
        node.site("moved.test", f'tenant = "carol"\n[[static]]\nurl = "{url}"\npath = "/home/carol/{name}"\n')
        began = time.monotonic()
        await_true(lambda name=name: node.get("moved.test", f"{url.rstrip('/')}/f.txt").text == name, 3)
        assert time.monotonic() - began < 0.3


def test_on_its_way_back_to_one_look_a_mapping_is_never_missed_or_old(node: Node) -> None:
    """Seconds after a change the short ways open again, in two steps, while visitors ask all the time."""
    node.tenant("carol")
    for name in ("one", "two"):
        node.put("carol", f"/home/carol/{name}/f.txt", name)
    mapping = '[[static]]\nurl = "/back"\npath = "/home/carol/{}"\n'
    node.app("back.test", tenant="carol", more=mapping.format("one"))
    route = node.layout.route("back.test")
    assert (route / "first/back").exists() and (route / "to-sock").exists()
    for name in ("two", "one"):
        node.app("back.test", tenant="carol", more=mapping.format(name))
        await_true(lambda name=name: node.get("back.test", "/back/f.txt").text == name, 0.3)
        assert not (route / "to-sock").exists()
        seen = set()
        await_true(
            lambda seen=seen: (
                seen.add(node.get("back.test", "/back/f.txt").text) or (route / "to-sock").exists()
            ),
            8,
        )
        assert seen == {name}
    assert (route / "first/back").exists()
    assert node.get("back.test", "/back/f.txt").text == "one"
    assert node.get("back.test", "/").text == "hello"


def test_tenants_mapping_to_a_link_elsewhere(node: Node) -> None:
    """The mapped directory itself is a link that the tenant has made to what is not the tenant's."""
    node.tenant("carol")
    home = node.layout.tenant_home("carol")
    os.symlink("/etc", home / "etc")
    os.lchown(home / "etc", node.uid("carol"), node.uid("carol"))
    node.site("etc.test", 'tenant = "carol"\n[[static]]\nurl = "/"\npath = "/home/carol/etc"\n')
    node.await_route("etc.test")
    assert node.get("etc.test", "/passwd").status in (403, 404)
    assert node.get("etc.test", "/hostname").status in (403, 404)


def test_a_password_is_asked_for_by_static_files_and_app_alike(node: Node) -> None:
    hashed = "$2y$05$oLe58IZMEU1UWp/FxcdDBuNud5lwONoMiIH/Uko5dcJbENn73Hami"
    node.app(
        "locked.test", more=f'[[static]]\nurl = "/static"\npath = "/home/alice/locked"\n{_password(hashed)}'
    )
    node.put("alice", "/home/alice/locked/a.txt", "static")
    letter = {"Authorization": "Basic " + base64.b64encode(b"guest:sesame").decode()}
    wrong = {"Authorization": "Basic " + base64.b64encode(b"guest:wrong").decode()}
    for path in ("/", "/static/a.txt"):
        refused = node.get("locked.test", path)
        assert refused.status == 401
        assert refused.headers["WWW-Authenticate"].startswith("Basic")
        assert "asks for a password" in refused.text
        assert node.get("locked.test", path, headers=wrong).status == 401
    assert node.show("locked.test")["wakes"] == 0
    for path, text in (("/", "hello"), ("/static/a.txt", "static")):
        assert node.get("locked.test", path, headers=letter).text == text


def test_a_password_is_asked_for_by_a_site_of_an_app_alone(node: Node) -> None:
    node.app(
        "bare-locked.test", more=_password("$2y$05$oLe58IZMEU1UWp/FxcdDBuNud5lwONoMiIH/Uko5dcJbENn73Hami")
    )
    letter = {"Authorization": "Basic " + base64.b64encode(b"guest:sesame").decode()}
    wrong = {"Authorization": "Basic " + base64.b64encode(b"guest:wrong").decode()}
    assert node.get("bare-locked.test").status == 401
    assert node.get("bare-locked.test", headers=wrong).status == 401
    assert node.show("bare-locked.test")["wakes"] == 0
    assert node.get("bare-locked.test", headers=letter).text == "hello"


def _password(hashed: str) -> str:
    return f'[password]\nuser = "guest"\nhash = "{hashed}"\n'


def test_a_directory_without_an_index_is_told_of(static: Node) -> None:
    static.put("alice", "/home/alice/public/empty/one.txt", "one")
    answer = static.get("static.test", "/static/empty/")
    assert answer.status == 403 and "without an index.html" in answer.text


def test_files_in_the_tenants_tmp(node: Node) -> None:
    node.tenant("tina")
    node.put("tina", "/tmp/files/one.txt", "one")
    node.site("tmp.test", 'tenant = "tina"\n[[static]]\nurl = "/files/"\npath = "/tmp/files"\n')
    await_true(lambda: node.get("tmp.test", "/files/one.txt").text == "one", 5)
