"""A serving process: uvicorn's protocols on the site's listening socket, with the tenant's ASGI app in it.

uvicorn's own server is left out: it would close connections that it has accepted and not yet read from, and
look ten times a second whether it is to end. What is used of it is the part that speaks HTTP and WebSocket.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from typing import Any, List

from uvicorn.config import Config
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

try:
    import uvloop
except ImportError:  # it is not made for every Python
    uvloop = None

from innkeeper.kernel import sockets
from innkeeper.worker import application, ending
from innkeeper.worker.exchanges import Exchanges
from innkeeper.worker.lifespan import Lifespan
from innkeeper.worker.requests import Attended
from innkeeper.worker.serving import Server

_PATIENCE = 5.0  # seconds that tasks which outlive their requests have at the end


class AsgiServer(Server):
    """One process with an event loop: start-up of the app, requests, shutdown of the app."""

    program = "uvicorn"

    def run(self) -> None:
        self.speak()
        self.prepare()
        loop = _new_loop()
        asyncio.set_event_loop(loop)
        loop.run_until_complete(self._serve())
        ending.attempt(lambda: _wind_up(loop))
        ending.end()

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        app = self.load()
        try:
            app = application.as_asgi3(app)
        except application.LoadError as error:
            self.fail(error)
        lifespan = Lifespan(app)
        try:
            await lifespan.start()
        except Exception as error:  # the app's own
            self.fail(error)
        order = self._order
        exchanges = Exchanges(
            app,
            order.body,
            order.timeout,
            order.longest,
            on_late=lambda: sockets.send(self._link, {"event": "late"}),
        )
        config = _config(exchanges.handle)
        state = ServerState()
        listener = socket.socket(fileno=self._given.listener)
        stopped = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, stopped.set)
        server = await loop.create_server(
            lambda: HttpToolsProtocol(config=config, server_state=state, app_state=lifespan.state),
            sock=listener,
            backlog=sockets.BACKLOG,
        )
        self.become_ready(
            Attended(listener.fileno(), exchanges.oldest, exchanges.any_goes_on),
            exchanges.finished,
            finish=lambda: loop.call_soon_threadsafe(stopped.set),
            on_gate=lambda: loop.call_soon_threadsafe(exchanges.say_farewell),
        )
        await stopped.wait()
        await _let_finish(state.tasks)
        try:
            await lifespan.stop()
        except Exception as error:  # the app's own, and in nobody's way
            os.write(2, application.explain(error).encode(errors="backslashreplace"))
        del server


async def _let_finish(tasks: set[asyncio.Task[None]]) -> None:
    """What apps do after an answer, such as background tasks, comes to its end."""
    left: List[Any] = list(tasks)
    if left:
        await asyncio.wait(left, timeout=_PATIENCE)


def _wind_up(loop: asyncio.AbstractEventLoop) -> None:
    """As `asyncio.run` does: what still runs is cancelled, and may clear up."""
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.wait(left))
    loop.run_until_complete(loop.shutdown_asyncgens())


def _config(app: Any) -> Config:
    """What uvicorn's protocols want to know. It is not `load`ed, for that would import by name: by then these
    names may lead to the app's own uvicorn, or nowhere."""
    config = Config(
        app,
        loop="none",
        interface="asgi3",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        workers=1,
    )
    # Nobody but nginx can connect, and it overwrites what visitors claim.
    config.loaded_app = ProxyHeadersMiddleware(app, trusted_hosts="*")
    config.ws_protocol_class = WebSocketsSansIOProtocol
    config.encoded_headers = []
    config.loaded = True
    return config


def _new_loop() -> asyncio.AbstractEventLoop:
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop() if uvloop else asyncio.new_event_loop()
    return loop
