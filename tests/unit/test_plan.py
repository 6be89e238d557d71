"""The steps from what is to what is wanted."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from innkeeper.spec.shares import SiteLimits
from innkeeper.spec.site import AppSpec, PasswordSpec, SiteSpec, StaticSpec
from innkeeper.supervisor.plan import Step, mark, steps

APP = AppSpec(wsgi="/var/www/a.py")
SITE = SiteSpec(domain="a.test", tenant="alice", app=APP)
STATIC = SiteSpec(domain="a.test", tenant="alice", static=(StaticSpec(url="/", path="/home/alice"),))


def changed(site: SiteSpec, **changes: object) -> SiteSpec:
    return msgspec.structs.replace(site, **changes)


@pytest.mark.parametrize(
    ("actual", "wanted", "expected"),
    [
        (None, None, ()),
        (None, SITE, (Step.BIND, Step.PUBLISH, Step.ENABLE)),
        (None, STATIC, (Step.PUBLISH,)),
        (SITE, SITE, ()),
        (SITE, changed(SITE, aliases=("b.test",)), (Step.PUBLISH,)),
        (SITE, changed(SITE, static=STATIC.static), (Step.PUBLISH,)),
        (SITE, changed(SITE, password=PasswordSpec(user="u", hash="h")), (Step.PUBLISH,)),
        (SITE, changed(SITE, env={"A": "b"}), (Step.RELOAD,)),
        (SITE, changed(SITE, tenant="bob"), (Step.PUBLISH, Step.HAND_OVER)),
        (
            changed(SITE, enabled=False),
            changed(SITE, enabled=False, tenant="bob"),
            (Step.PUBLISH,),
        ),
        (SITE, changed(SITE, app=AppSpec(wsgi="/var/www/b.py")), (Step.RELOAD,)),
        (SITE, changed(SITE, limits=SiteLimits(open_files=100)), (Step.RELOAD,)),
        (SITE, changed(SITE, enabled=False), (Step.PUBLISH, Step.DISABLE)),
        (changed(SITE, enabled=False), SITE, (Step.PUBLISH, Step.ENABLE)),
        (None, changed(SITE, enabled=False), (Step.BIND, Step.PUBLISH, Step.DISABLE)),
        (SITE, STATIC, (Step.PUBLISH, Step.STOP, Step.UNBIND)),
        (STATIC, SITE, (Step.BIND, Step.PUBLISH, Step.ENABLE)),
        (SITE, None, (Step.WITHDRAW, Step.STOP, Step.UNBIND)),
        (STATIC, None, (Step.WITHDRAW, Step.STOP)),
    ],
)
def test_steps(actual: SiteSpec | None, wanted: SiteSpec | None, expected: tuple[Step, ...]) -> None:
    assert steps(actual, wanted) == expected


def test_a_touched_file_reloads() -> None:
    assert steps(SITE, SITE, touched=True) == (Step.RELOAD,)
    assert steps(STATIC, STATIC, touched=True) == ()


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({}, False),
        ({"env": {"C": "d", "A": "b"}}, False),
        ({"aliases": ("b.test",), "static": STATIC.static}, False),
        ({"tenant": "bob"}, True),
        ({"app": AppSpec(wsgi="/var/www/a.py", threads=2)}, True),
        ({"env": {"A": "b"}}, True),
        ({"limits": SiteLimits(memory="2g")}, True),
    ],
)
def test_the_mark_of_what_a_worker_is_made_from(change: dict[str, object], differs: bool) -> None:
    site = changed(SITE, env={"A": "b", "C": "d"})
    assert (mark(site) != mark(changed(site, **change))) == differs


SITES = st.none() | st.builds(
    SiteSpec,
    domain=st.just("a.test"),
    tenant=st.sampled_from(("alice", "bob")),
    aliases=st.sampled_from(((), ("b.test",))),
    enabled=st.booleans(),
    app=st.sampled_from((None, APP, AppSpec(wsgi="/var/www/b.py"))),
    env=st.sampled_from(({}, {"A": "b"})),
    static=st.sampled_from(((), STATIC.static)),
)


@given(SITES, SITES, st.booleans())
def test_any_change(actual: SiteSpec | None, wanted: SiteSpec | None, touched: bool) -> None:
    found = steps(actual, wanted, touched=touched)
    assert len(set(found)) == len(found)
    had, has = bool(actual and actual.app), bool(wanted and wanted.app)
    # A socket is bound when the site comes to have an app, and given up when it has none any more.
    assert (Step.BIND in found) == (has and not had)
    assert (Step.UNBIND in found) == (had and not has)
    # Routes never lead to a socket that is not there.
    if Step.BIND in found and Step.PUBLISH in found:
        assert found.index(Step.BIND) < found.index(Step.PUBLISH)
    for leaving in {Step.PUBLISH, Step.WITHDRAW} & set(found):
        assert Step.UNBIND not in found or found.index(leaving) < found.index(Step.UNBIND)
    assert not {Step.RELOAD, Step.HAND_OVER, Step.ENABLE} & set(found) or (
        wanted is not None and wanted.enabled
    )


@given(SITES)
def test_nothing_to_do_when_all_is_as_wanted(site: SiteSpec | None) -> None:
    assert steps(site, site) == ()
