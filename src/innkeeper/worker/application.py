"""Loading the tenant's app inside its sandbox: find the callable, or say why it can't be found.

uWSGI imports a module named MODULE; `Finder` makes that import load the tenant's app, so that the app is
loaded inside a running uWSGI (where `import uwsgi` works) and a failure's traceback stays in our hands.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import inspect
import os
import sys
import traceback
from types import FunctionType, ModuleType, TracebackType
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from innkeeper.worker import touch
from innkeeper.worker.order import Order

MODULE = "innkeeper_app"
_ARTICLE = {"wsgi": "a WSGI", "asgi": "an ASGI"}
_FACTORY = (
    "`{0}` in {1} does not take the two arguments of a WSGI app. If it makes one, name a file that calls it: "
    "`application = {0}()`"
)
MAX_TRACEBACK = 16 * 1024
MARKS: Dict[str, List[int]] = {}  # of WSGI files, by path, as they were when they were read


class LoadError(Exception):
    """The app's module loaded, but holds no app of the wanted name; the text is for its owner."""


def search_path(order: Order, real: Callable[[str], str]) -> List[str]:
    """The directories that the app's own modules are looked for in, before the runtime's.

    PYTHONPATH is read here, for this Python was started before there was one; one that was executed has read it.
    """
    if order.directory:
        own = real(order.directory)
    elif order.entry.startswith("/"):
        own = os.path.dirname(real(order.entry))
    else:
        own = real(f"/home/{order.tenant}")
    named = "" if order.interpreter else order.environment.get("PYTHONPATH", "")
    return [own, *(os.path.abspath(real(entry)) for entry in named.split(":") if entry)]


NAMES = {"wsgi": ("application", "app"), "asgi": ("app", "application")}  # looked for when none is given


def load(entry: str, name: Optional[str], kind: str = "wsgi") -> Any:
    """The callable that `entry` ("/path.py" or "module") holds under `name` (default: application, app)."""
    module = _load_file(entry) if entry.startswith("/") else importlib.import_module(entry)
    for candidate in (name,) if name else NAMES[kind]:
        found: Any = module
        for part in candidate.split("."):
            found = getattr(found, part, None)
        if callable(found):
            if kind == "wsgi" and is_coroutine_function(found):
                raise LoadError(f"`{candidate}` in {entry} is an ASGI app; write `asgi = …` in the site file")
            if kind == "wsgi" and _takes_too_few(found):
                raise LoadError(_FACTORY.format(candidate, entry))
            return found
        if found is not None:
            raise LoadError(
                f"`{candidate}` in {entry} is of type {type(found).__name__}, which can't be called"
            )
    wanted = f"`{name}`" if name else "`application` or `app`"
    raise LoadError(f"{entry} has no {wanted}; it needs {_ARTICLE[kind]} callable of that name")


def _takes_too_few(app: Any) -> bool:
    """Whether it is a plain function that can't be called with environ and start_response."""
    if not isinstance(app, FunctionType):
        return False
    code = app.__code__
    return code.co_argcount < 2 and not code.co_flags & inspect.CO_VARARGS


def is_coroutine_function(app: Any) -> bool:
    """Whether calling the app makes a coroutine, as ASGI wants it."""
    if inspect.isclass(app):
        return hasattr(app, "__await__")
    call = getattr(app, "__call__", None)  # noqa: B004 - not whether it can be called, but how
    return inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(call)


def as_asgi3(app: Any) -> Any:
    """The app as one that takes scope, receive and send at once. LoadError for what is no ASGI app."""
    if is_coroutine_function(app):
        return app
    try:
        wanted = len(inspect.signature(app).parameters)
    except (TypeError, ValueError):
        wanted = 1
    if wanted == 2:
        raise LoadError("it takes two arguments, so it is a WSGI app; write `wsgi = …` in the site file")

    async def adapted(scope: Any, receive: Any, send: Any) -> None:
        """The older form of ASGI, or a callable that returns a coroutine."""
        if wanted >= 3:
            await app(scope, receive, send)
        else:
            await app(scope)(receive, send)

    return adapted


def _load_file(path: str) -> ModuleType:
    """Run a WSGI file afresh, never from cached bytecode: an edit within one second must show."""
    with open(path, "rb") as file:
        MARKS[path] = touch.mark(os.fstat(file.fileno()))
        source = file.read()
    module = ModuleType("wsgi_app")
    module.__file__ = path
    sys.modules["wsgi_app"] = module
    exec(compile(source, path, "exec"), module.__dict__)
    return module


def watched_file(entry: str) -> Tuple[Optional[str], Optional[List[int]]]:
    """The file that its owner touches to have the app loaded anew, and the mark it bore when it was read."""
    if entry.startswith("/"):
        return entry, MARKS.get(entry)
    file = getattr(sys.modules.get(entry), "__file__", None)
    if not file:
        return None, None
    path = os.path.abspath(file)
    return path, touch.mark(os.stat(path)) if os.path.exists(path) else None


def explain(error: BaseException) -> str:
    """The traceback as the owner should read it: from the app's own first line on."""
    shown = error.__traceback__
    while shown is not None and "/innkeeper/worker/" in shown.tb_frame.f_code.co_filename.replace(
        os.sep, "/"
    ):
        shown = shown.tb_next
    while shown is not None and shown.tb_next is not None and _is_importing(shown):
        shown = shown.tb_next
    if isinstance(error, LoadError):
        return f"{error}\n"
    lines = traceback.format_exception(type(error), error, shown)
    text = "".join(lines)
    if len(text) > MAX_TRACEBACK:
        text = text[: MAX_TRACEBACK // 4] + "\n  […]\n" + text[-MAX_TRACEBACK * 3 // 4 :]
    return text


def _is_importing(frame: TracebackType) -> bool:
    """Whether it is Python's own import that is at work there."""
    file = frame.tb_frame.f_code.co_filename
    return file.startswith(("<frozen importlib", "<string>")) or file == importlib.__file__


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Answers the one import of MODULE by calling `provide` for the application."""

    def __init__(self, provide: Callable[[], Any]) -> None:
        self._provide = provide

    def find_spec(
        self, fullname: str, path: Optional[Sequence[str]], target: Optional[ModuleType] = None
    ) -> Optional[importlib.machinery.ModuleSpec]:
        if fullname != MODULE:
            return None
        return importlib.machinery.ModuleSpec(MODULE, self)

    def exec_module(self, module: ModuleType) -> None:
        sys.meta_path.remove(self)
        module.application = self._provide()  # type: ignore[attr-defined]
