"""The routing tree, as nginx will find it."""

from __future__ import annotations

import errno
import os
import string
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from innkeeper.edge.routes import FORGOTTEN, Route, Routes
from innkeeper.spec.node import Layout

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="links are given to tenants, which takes root")

ROUTE = Route(
    "a.test",
    ("www.a.test",),
    True,
    True,
    False,
    False,
    (("/static", "/data/alice/home/public"),),
    20000,
    20000,
)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    found = Layout(tmp_path)
    found.run.mkdir(parents=True)
    return found


def tree(layout: Layout, domain: str = "a.test") -> dict[str, str]:
    """What nginx finds for a host: names, with the targets of links and the owners of static ones."""
    top = layout.route(domain).resolve()
    found = {}
    for path in sorted(top.rglob("*")):
        name = path.relative_to(top).as_posix()
        if path.is_symlink():
            found[name] = f"→ {os.readlink(path)} ({os.lstat(path).st_uid})"
        elif path.is_file():
            found[name] = "file"
    return found


def test_a_site_with_all_there_is(layout: Layout) -> None:
    Routes(layout).publish(ROUTE)
    assert tree(layout) == {
        "aliases": "file",
        "first/static": "file",
        "live": "→ ../../live/a.test (0)",
        "log": f"→ {layout.logs}/a.test (0)",
        "static/1/static": "→ /data/alice/home/public (20000)",
        "to-sock": "file",
        "up": "file",
    }
    assert os.readlink(layout.route("www.a.test")) == "a.test"


@pytest.mark.parametrize(
    ("urls", "found"),
    [
        (("/static", "/media/"), {"first/static", "first/media"}),
        (("/static/", "/static/deep/"), {"mapped"}),
        (("/", "/static/"), {"mapped"}),
        ((), set()),
    ],
)
def test_only_mappings_of_one_segment_are_found_the_short_way(
    layout: Layout, urls: tuple[str, ...], found: set[str]
) -> None:
    Routes(layout).publish(ROUTE._replace(static=tuple((url, "/data/x") for url in urls)))
    assert {name for name in tree(layout) if name.startswith(("first", "mapped"))} == found


@pytest.mark.parametrize(
    ("changes", "way"),
    [
        ({}, {"to-sock"}),
        ({"speaks_http": True}, {"to-http"}),
        ({"static": ()}, {"to-sock"}),
        ({"static": (("/a/b/", "/data/x"),)}, set()),
        ({"has_app": False}, set()),
        ({"enabled": False}, set()),
        ({"password": ("u", "$2y$05$x")}, set()),
    ],
)
def test_there_is_a_short_way_to_an_app_that_needs_no_further_look(
    layout: Layout, changes: dict[str, object], way: set[str]
) -> None:
    Routes(layout).publish(ROUTE._replace(**changes))
    assert {name for name in tree(layout) if name.startswith("to-")} == way


def test_the_short_way_is_shut_while_the_site_is_marked_as_failed(layout: Layout) -> None:
    routes = Routes(layout)
    layout.live("a.test").mkdir()

    def shut() -> set[str]:
        return {name for name in tree(layout) if name.startswith("to-")}

    routes.publish(ROUTE._replace(static=()))
    routes.set_flag("a.test", "busy")
    assert shut() == {"to-sock"}
    routes.set_flag("a.test", "failed")
    assert shut() == {"to-sock~"}
    routes.publish(ROUTE._replace(static=(), speaks_http=True))
    assert shut() == {"to-http~"}
    routes.clear_flag("a.test", "failed")
    assert shut() == {"to-http"}
    assert not (layout.live("a.test") / "failed").exists()


def test_a_flag_that_can_not_be_set_leaves_the_site_as_it_is(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    routes = Routes(layout)
    layout.live("a.test").mkdir()
    routes.publish(ROUTE)
    with monkeypatch.context() as full:
        full.setattr("innkeeper.edge.routes.os.open", fail)
        routes.set_flag("a.test", "failed")
    assert "to-sock" in tree(layout)
    assert os.listdir(layout.live("a.test")) == []


def test_a_flag_of_one_site_does_nothing_to_another_that_has_its_name(layout: Layout) -> None:
    routes = Routes(layout)
    routes.publish(ROUTE._replace(domain="b.test", aliases=("a.test",)))
    layout.live("a.test").mkdir()
    routes.set_flag("a.test", "failed")
    assert "to-sock" in tree(layout, "b.test")


@pytest.mark.parametrize(
    ("changes", "marker"),
    [({}, "up"), ({"enabled": False}, "off"), ({"password": ("u", "$2y$05$x")}, "locked")],
)
def test_one_marker_says_how_it_is_served(layout: Layout, changes: dict[str, object], marker: str) -> None:
    Routes(layout).publish(ROUTE._replace(**changes))
    assert {"up", "off", "locked"} & set(tree(layout)) == {marker}


def test_what_is_unchanged_is_left_alone(layout: Layout) -> None:
    Routes(layout).publish(ROUTE)
    before = os.readlink(layout.route("a.test"))
    layout.route("www.a.test").unlink()
    Routes(layout).publish(ROUTE)
    assert os.readlink(layout.route("a.test")) == before
    assert os.readlink(layout.route("www.a.test")) == "a.test"


def marks(layout: Layout) -> frozenset[str]:
    return frozenset(path.name for path in layout.route("a.test").resolve().glob("static/mark*"))


def ways(layout: Layout) -> set[str]:
    return {name for name in tree(layout) if name.startswith(("first", "mapped", "to-"))}


def test_generations_differ_in_their_marks_and_leave_nothing(layout: Layout) -> None:
    routes = Routes(layout)
    rounds = []
    for number in range(10):
        routes.publish(ROUTE._replace(static=(("/static", f"/data/{number}"),)))
        rounds.append(marks(layout))
    assert len(set(rounds[:8])) == 8
    assert len(list(layout.trees.iterdir())) == 1


SHORT, LONG = {"first/static", "to-sock"}, {"first~/static", "mapped"}


def test_a_tree_that_follows_another_comes_to_the_short_ways_in_steps(layout: Layout) -> None:
    routes = Routes(layout)
    assert routes.publish(ROUTE) is None
    assert ways(layout) == SHORT
    made = routes.publish(ROUTE._replace(speaks_http=True))
    assert made is not None
    assert ways(layout) == LONG
    assert routes.settle(made)
    assert ways(layout) == {"first/static", "mapped"}
    assert not routes.settle(made)
    assert ways(layout) == {"first/static", "mapped", "to-http"}
    assert not routes.settle(made)
    assert ways(layout) == {"first/static", "mapped", "to-http"}


def test_a_tree_that_holds_no_more_is_not_settled(layout: Layout) -> None:
    routes = Routes(layout)
    routes.publish(ROUTE)
    older = routes.publish(ROUTE._replace(speaks_http=True))
    newer = routes.publish(ROUTE)
    assert older is not None and newer is not None
    assert not routes.settle(older)
    assert ways(layout) == LONG
    assert routes.settle(newer)
    routes.withdraw("a.test")
    assert not routes.settle(newer)


def test_a_supervisor_goes_on_with_what_another_has_not_settled(layout: Layout) -> None:
    routes = Routes(layout)
    routes.publish(ROUTE._replace(static=()))
    made = routes.publish(ROUTE)
    assert made is not None
    assert routes.settle(made)
    another = Routes(layout)
    assert another.publish(ROUTE) == made
    assert not another.settle(made)
    assert ways(layout) == {"first/static", "mapped", "to-sock"}


@pytest.mark.parametrize("changes", [{"enabled": False}, {"static": (("/a/b", "/x"),)}, {"static": ()}])
def test_there_is_nothing_to_settle_where_there_is_no_short_way(
    layout: Layout, changes: dict[str, object]
) -> None:
    routes = Routes(layout)
    routes.publish(ROUTE)
    assert routes.publish(ROUTE._replace(**changes)) is None


@pytest.mark.parametrize("name", ["a.test", "www.a.test"])
def test_a_name_that_led_elsewhere_a_moment_ago_takes_the_longer_way(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    routes = Routes(layout)
    other = ROUTE._replace(domain="b.test", aliases=(name,))
    routes.publish(other)
    routes.withdraw("b.test")
    assert routes.publish(ROUTE) is not None
    assert ways(layout) == LONG
    routes.withdraw("a.test")
    later = time.monotonic() + FORGOTTEN
    monkeypatch.setattr("innkeeper.edge.routes.time.monotonic", lambda: later)
    assert routes.publish(ROUTE) is None
    assert ways(layout) == SHORT


def test_the_way_of_a_failed_site_stays_shut_when_it_is_settled(layout: Layout) -> None:
    routes = Routes(layout)
    layout.live("a.test").mkdir()
    routes.publish(ROUTE)
    made = routes.publish(ROUTE._replace(speaks_http=True))
    assert made is not None
    routes.set_flag("a.test", "failed")
    routes.settle(made)
    routes.settle(made)
    assert "to-http~" in ways(layout)
    routes.clear_flag("a.test", "failed")
    assert "to-http" in ways(layout)


def test_aliases_go_with_their_site_and_are_taken_from_no_other(layout: Layout) -> None:
    routes = Routes(layout)
    routes.publish(ROUTE)
    routes.publish(ROUTE._replace(domain="b.test", aliases=("www.a.test",)))
    routes.publish(ROUTE._replace(aliases=()))
    assert os.readlink(layout.route("www.a.test")) == "b.test"
    routes.withdraw("b.test")
    assert not os.path.lexists(layout.route("www.a.test"))
    assert not os.path.lexists(layout.route("b.test"))


def test_sweep_removes_what_belongs_to_nobody(layout: Layout) -> None:
    routes = Routes(layout)
    routes.publish(ROUTE)
    routes.publish(ROUTE._replace(domain="gone.test", aliases=("www.gone.test",)))
    (layout.trees / "half-made.test.7").mkdir()
    layout.live("gone.test").mkdir()
    os.symlink("nowhere", layout.routes / "stray")
    Routes(layout).sweep({"a.test"})
    assert sorted(os.listdir(layout.routes)) == ["a.test", "www.a.test"]
    assert len(os.listdir(layout.trees)) == 1
    assert os.listdir(layout.run / "live") == []


SEGMENT = st.text(string.ascii_lowercase + "-.~", min_size=1, max_size=8).filter(lambda text: text.strip("."))


@settings(max_examples=50)
@given(
    st.dictionaries(
        st.lists(SEGMENT, max_size=4).map(lambda parts: "/" + "/".join(parts)), st.just("/x"), max_size=6
    )
)
def test_each_mapping_lies_at_its_depth(mappings: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as place:
        layout = Layout(Path(place))
        layout.run.mkdir(parents=True)
        Routes(layout).publish(ROUTE._replace(static=tuple(mappings.items())))
        top = layout.route("a.test").resolve() / "static"
        found = {
            "/" + "/".join(path.relative_to(top).parts[1:]) for path in top.rglob("*") if path.is_symlink()
        }
        assert found - {"/"} == set(mappings) - {"/"}
        assert ("/" in mappings) == (top / "0").is_symlink()
