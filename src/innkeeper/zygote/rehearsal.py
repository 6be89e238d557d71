"""Rehearsal: the frameworks that were preloaded serve a small app of ours before anything is forked.

Python adapts a function's code to what it meets in its first calls, and writes that into the code itself. Done
here, once, it is not done again in each worker, where it would take time and copy memory: a third of a Flask
app's cold start and 2 MB of each worker (PEP 659; scripts/bench). Nothing of the small apps is left behind, and
a rehearsal is tried out first, as an import is.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import types
from typing import Any, Callable, Dict, Iterator, List, Tuple

from innkeeper.zygote import trial

_TIMES = 20  # calls after which code has adapted (Python 3.11: 8 of a function, 16 of an instruction)
_TEMPLATE = "{% for each in some %}{{ each|title }} {% endfor %}"


def rehearse() -> Dict[str, str]:
    """Rehearse with all frameworks that are there; why not with the others, by name."""
    failed = {}
    for module, part in _parts(_django):
        reason = trial.try_out(part) or trial.reason_of(part)
        if reason:
            failed[module] = reason
    return failed


def play() -> None:
    """Rehearse once more with all frameworks, whatever comes of it. Leaves Django with settings."""
    for _, part in _parts(start_project):
        trial.reason_of(part)


def play_least() -> None:
    """One app and one request with the framework that does least: what it does, the others do as well."""
    if "flask" in sys.modules:
        trial.reason_of(lambda: _answer(_flask_app(), "/"))


def _parts(django: Callable[[], None]) -> List[Tuple[str, Callable[[], None]]]:
    """What to do with each framework that is there, by a module of its."""
    parts = (("flask", _flask), ("fastapi", _fastapi), ("django.core.handlers.wsgi", django))
    return [(module, part) for module, part in parts if module in sys.modules]


def _environ(path: str) -> Dict[str, Any]:
    return {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "page=2",
        "SERVER_NAME": "rehearsal.invalid",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "rehearsal.invalid",
        "HTTP_USER_AGENT": "rehearsal",
        "HTTP_ACCEPT": "text/html,*/*;q=0.8",
        "HTTP_COOKIE": "name=value",
        "REMOTE_ADDR": "192.0.2.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }


def _answer(app: Callable[..., Any], path: str) -> None:
    """Have a WSGI app answer once. Raises RuntimeError for any status but 200."""
    said: List[str] = []
    result = app(_environ(path), lambda status, headers, exc_info=None: said.append(status))
    for _ in result:
        pass
    close = getattr(result, "close", None)
    if close is not None:
        close()
    if not said[0].startswith("200"):
        raise RuntimeError(f"the rehearsal of {path} gave {said[0]}")


def _flask_app() -> Any:
    import flask

    app = flask.Flask("rehearsal", root_path="/", static_folder=None)
    app.add_url_rule("/", "front", lambda: "front")
    app.add_url_rule("/json", "json", lambda: flask.jsonify(name=flask.request.args["page"]))
    app.add_url_rule("/<name>", "page", lambda name: flask.render_template_string(_TEMPLATE, some=[name]))
    return app


def _flask() -> None:
    for _ in range(3):
        app = _flask_app()
    for _ in range(_TIMES):
        for path in ("/", "/json", "/page"):
            _answer(app, path)


# ── ASGI ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _fastapi() -> None:
    import fastapi
    import pydantic

    for _ in range(3):
        app = fastapi.FastAPI()

        class Item(pydantic.BaseModel):
            name: str
            price: float = 0.0

        async def front() -> Dict[str, str]:
            return {"front": "yes"}

        async def item(name: str, page: int = 1) -> Any:
            return Item(name=name, price=page)

        item.__annotations__.update(
            name=str, page=int
        )  # without names that FastAPI would look up in our module
        front.__annotations__.clear()
        app.get("/")(front)
        app.get("/items/{name}", response_model=Item)(item)
    for _ in range(_TIMES):
        for path in ("/", "/items/one"):
            _step_through(app, path)


def _step_through(app: Callable[..., Any], path: str) -> None:
    """Have an ASGI app answer once, without an event loop: nothing in it waits."""
    said: List[Dict[str, Any]] = []

    async def receive() -> Dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Dict[str, Any]) -> None:
        said.append(message)

    headers: List[Tuple[bytes, bytes]] = [(b"host", b"rehearsal.invalid"), (b"accept", b"*/*")]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"page=2",
        "root_path": "",
        "headers": headers,
        "client": ("192.0.2.1", 1),
        "server": ("rehearsal.invalid", 80),
        "state": {},
    }
    answering = app(scope, receive, send)
    try:
        answering.send(None)
    except StopIteration:
        pass
    else:
        answering.close()
        raise RuntimeError("the rehearsal waits for something")
    if said[0]["status"] != 200:
        raise RuntimeError(f"the rehearsal of {path} gave {said[0]['status']}")


# ── Django ───────────────────────────────────────────────────────────────────────────────────────────────────


def _django() -> None:
    with _django_settings() as urlconf:
        _django_definitions()
        from django.core.handlers.wsgi import WSGIHandler
        from django.http import HttpResponse
        from django.urls import path, re_path

        urlconf.urlpatterns = [
            path("", lambda request: HttpResponse("front"), name="front"),
            path(
                "page/<int:number>/<slug:name>", lambda request, number, name: HttpResponse(name), name="page"
            ),
            re_path(r"^old/(?P<year>[0-9]{4})/$", lambda request, year: HttpResponse(year)),
        ]
        handler = WSGIHandler()
        for _ in range(_TIMES):
            for place in ("/", "/page/1/one", "/old/2000/"):
                _answer(handler, place)


def _django_definitions() -> None:
    """Models, in a registry of their own, and forms: what they are made of is code that every project runs."""
    from django import forms
    from django.apps.registry import Apps
    from django.db import models

    for _ in range(_TIMES // 2):
        registry = Apps()
        meta = type("Meta", (), {"app_label": "rehearsal", "apps": registry, "ordering": ["name"]})
        fields: Dict[str, Any] = {
            "__module__": __name__,
            "id": models.BigAutoField(primary_key=True),
            "name": models.CharField(
                "the name", max_length=100, unique=True, choices=[("a", "A"), ("b", "B")]
            ),
            "text": models.TextField(blank=True),
            "written": models.DateTimeField(auto_now_add=True),
            "flag": models.BooleanField(default=False),
            "number": models.PositiveIntegerField(null=True),
            "Meta": meta,
        }
        type("First", (models.Model,), fields)
        type(
            "Form",
            (forms.Form,),
            {
                "name": forms.CharField(max_length=100, help_text="help"),
                "choice": forms.ChoiceField(choices=[("a", "A")]),
                "agreed": forms.BooleanField(required=False),
            },
        )


def start_project() -> None:
    """A new project, as `django-admin startproject` makes it, comes up and answers. Leaves Django with settings."""
    import django.conf

    settings, urls = types.ModuleType("rehearsal_settings"), types.ModuleType("rehearsal_urls")
    template = f"{django.conf.__path__[0]}/project_template/project_name/settings.py-tpl"
    settings.__file__ = "/rehearsal/project/settings.py"
    with open(template, encoding="utf-8") as file:
        exec(file.read(), vars(settings))
    vars(settings).update(ALLOWED_HOSTS=["rehearsal.invalid"], ROOT_URLCONF="rehearsal_urls")
    sys.modules.update(rehearsal_settings=settings, rehearsal_urls=urls)
    os.environ["DJANGO_SETTINGS_MODULE"] = "rehearsal_settings"
    from django.core.wsgi import get_wsgi_application

    application = get_wsgi_application()
    from django.contrib import admin
    from django.http import HttpResponse
    from django.template import engines
    from django.urls import path

    def front(request: Any) -> Any:
        return HttpResponse(engines["django"].from_string(_TEMPLATE).render({"some": "one"}))

    urls.urlpatterns = [path("", front), path("admin/", admin.site.urls)]  # type: ignore[attr-defined]
    _answer(application, "/")


@contextlib.contextmanager
def _django_settings() -> Iterator[Any]:
    """Settings for the time of the rehearsal. Afterwards Django is as if it had never seen any."""
    from django.apps import apps
    from django.conf import LazySettings, UserSettingsHolder, global_settings, settings
    from django.core.cache import caches
    from django.db import connections
    from django.urls import base, resolvers
    from django.utils import translation
    from django.utils.functional import empty

    urlconf = types.ModuleType("rehearsal_urls")
    own: Any = UserSettingsHolder(global_settings)
    own.SECRET_KEY = "rehearsal"  # noqa: S105
    own.ALLOWED_HOSTS = ["rehearsal.invalid"]
    own.ROOT_URLCONF = urlconf
    own.MIDDLEWARE = [
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ]
    if settings.configured:
        raise RuntimeError("Django has settings already")
    try:
        settings._wrapped = own
        apps.apps_ready = True  # of no apps
        yield urlconf
    finally:
        apps.apps_ready = False
        base.clear_url_caches()
        base.set_urlconf(None)
        base.clear_script_prefix()
        resolvers._get_cached_resolver.cache_clear()
        for handler in (connections, caches):
            handler.__dict__.pop("settings", None)
            handler.__init__()
        translation._trans.__dict__.clear()
        settings.__dict__.clear()
        assert isinstance(settings, LazySettings)
        settings._wrapped = empty
