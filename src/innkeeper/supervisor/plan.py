"""What to do about a change: wanted beside actual gives steps. Pure, so that all cases can be tried."""

from __future__ import annotations

import hashlib
from enum import Enum

import msgspec

from innkeeper.spec.site import SiteSpec


class Step(Enum):
    """One thing to do to a site, in the order in which they are to be done."""

    BIND = "bind the listening socket"
    REBIND = "bind a listening socket of another kind beside the one before"
    PUBLISH = "publish the routes"
    ENABLE = "let requests wake it"
    RELOAD = "replace the worker by one with the new code"
    HAND_OVER = "drain the former tenant's worker, and let the next request wake the new one's"
    DISABLE = "answer by the switched-off page and drain the worker"
    STOP = "drain the worker"
    UNBIND = "close the listening socket"
    WITHDRAW = "take the routes away"


def steps(actual: SiteSpec | None, wanted: SiteSpec | None, *, touched: bool = False) -> tuple[Step, ...]:
    """The steps from `actual` to `wanted` (None: no such site); `touched` asks for the code to be loaded anew."""
    if wanted is None:
        if actual is None:
            return ()
        return (Step.WITHDRAW, Step.STOP, *((Step.UNBIND,) if actual.app else ()))
    found: list[Step] = []
    had_app, has_app = actual is not None and actual.app is not None, wanted.app is not None
    rebound = _protocol(actual) != _protocol(wanted) and has_app and had_app
    if has_app and not had_app:
        found.append(Step.BIND)
    if rebound:
        found.append(Step.REBIND)
    if actual is None or _routes(actual) != _routes(wanted):
        found.append(Step.PUBLISH)
    was_enabled = actual is not None and actual.enabled
    if has_app and wanted.enabled and not (was_enabled and had_app):
        found.append(Step.ENABLE)
    elif has_app and wanted.enabled and not rebound and actual is not None and actual.tenant != wanted.tenant:
        found.append(Step.HAND_OVER)
    elif has_app and wanted.enabled and not rebound and (touched or _process(actual) != _process(wanted)):
        found.append(Step.RELOAD)
    elif has_app and not wanted.enabled and (was_enabled or not had_app):
        found.append(Step.DISABLE)
    if had_app and not has_app:
        found += [Step.STOP, Step.UNBIND]
    return tuple(found)


def _routes(spec: SiteSpec) -> tuple[object, ...]:
    """What the edge sees of a site."""
    return (
        *(spec.tenant, spec.aliases, spec.enabled),
        *(spec.app.kind if spec.app else None, spec.static, spec.password),
    )


def _protocol(spec: SiteSpec | None) -> bool | None:
    """What is spoken on a site's socket: HTTP or not; None for a site without an app."""
    return spec.app.speaks_http if spec is not None and spec.app is not None else None


def _process(spec: SiteSpec | None) -> tuple[object, ...] | None:
    """What a worker is made from."""
    return None if spec is None else (spec.tenant, spec.app, spec.env, spec.limits)


def mark(spec: SiteSpec) -> str:
    """What differs when workers are made from something else, for a later supervisor to compare."""
    made_from = msgspec.json.encode(_process(spec), order="deterministic")
    return hashlib.blake2b(made_from, digest_size=16).hexdigest()
