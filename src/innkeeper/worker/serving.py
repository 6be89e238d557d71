"""What all serving processes have in common: their place, their streams, loading the app, and telling of it."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import signal
import socket
import sys
from typing import Any, Callable, List, NoReturn, Optional, TextIO

from innkeeper.kernel import processes, sockets
from innkeeper.worker import application, imports, sandbox, virtualenv
from innkeeper.worker.children import STACK_SIGNAL
from innkeeper.worker.modulepath import ModulePath
from innkeeper.worker.monitor import Monitor
from innkeeper.worker.order import RESERVE, Descriptors, Order
from innkeeper.worker.places import Places
from innkeeper.worker.requests import InFlight
from innkeeper.worker.stock import STOCK
from innkeeper.worker.touch import Touch

LOAD_FAILED = 78  # exit status, EX_CONFIG of sysexits.h


class CommandEnded(Exception):
    """A command ended before it listened; the text is for its owner."""


class Server:
    """One serving process. A kind of app overrides `run`, which returns when the process is to end."""

    program = ""  # what the app finds in sys.argv
    is_prompt = False  # whether it begins before the tenant's root is furnished, and calls `move_in` itself

    def __init__(self, order: Order, places: Places, given: Descriptors, link: socket.socket) -> None:
        self._order = order
        self._places = places
        self._given = given
        self._link = link
        self.arrive: Optional[Callable[[], None]] = None  # see `kinds.serve`

    def run(self) -> None:
        """Load the app and serve it until drained."""
        raise NotImplementedError

    def move_in(self) -> None:
        """Be the tenant, in the tenant's root and environment."""
        if self.arrive is not None:
            self.arrive()
            processes.be_open_to_itself()
            sandbox.set_environment(self._order, self._places)

    def real(self, path: str) -> str:
        """Where a path of the tenant's is found by this process."""
        return self._places.real(self._order.tenant, path)

    def speak(self) -> None:
        """From here on what is printed goes to server.log."""
        os.dup2(self._given.stdout, 1)
        os.close(self._given.stdout)
        os.dup2(1, 2)

    def give_stderr(self) -> None:
        """From here on what is printed to stderr goes to the app's error log."""
        os.dup2(self._given.stderr, 2)

    def stand(self) -> None:
        """Stand in the app's directory."""
        try:
            os.chdir(self.real(self._order.directory or f"/home/{self._order.tenant}"))
        except OSError as error:
            self.fail(error)
        sys.argv[:] = [self.program]

    def prepare(self) -> None:
        """Stand there, with the packages and the module path that the app is to have."""
        self.stand()
        own = application.search_path(self._order, self.real)
        if not self._order.interpreter:
            self._enter_packages(own)
        sys.path[:0] = own
        if STOCK.parts:
            sys.path = ModulePath(sys.path, virtualenv.packages(), self._give_way)
        imports.reseed()

    def _enter_packages(self, own: List[str]) -> None:
        """Have exactly the packages of the app's virtualenv, or else of the runtime."""
        path = self._order.virtualenv and self.real(self._order.virtualenv)
        try:
            STOCK.keep_what_fits(virtualenv.packages_of(path) if path else None, own)
        except virtualenv.Unfit as unfit:
            self._be_unfit(unfit)
        except virtualenv.Broken as error:
            self.fail(error)
        virtualenv.enter(path)

    def _give_way(self, directories: List[str]) -> None:
        """The app has put directories before its packages."""
        try:
            STOCK.give_way(directories, imports.own_modules())
        except virtualenv.Unfit as unfit:
            self._be_unfit(unfit)

    def _be_unfit(self, unfit: virtualenv.Unfit) -> NoReturn:
        """Tell that another process has to run this app, and end."""
        sockets.send(self._link, {"event": "unfit", "reason": str(unfit), "python": unfit.python})
        os._exit(LOAD_FAILED)

    def load(self) -> Any:
        """The app itself; a failure ends the process. Meanwhile stderr is the app's."""
        self.give_stderr()
        self.limit_files()
        # Under both names, as in any Python: an app that wraps `sys.stdout.buffer` in a stream of its own takes the
        # first from us, and with the last reference the buffer would be closed.
        sys.stdout = sys.__stdout__ = _line_by_line(1)  # type: ignore[misc, assignment]
        sys.stderr = sys.__stderr__ = _line_by_line(2)  # type: ignore[misc, assignment]
        _tell_of_faults()
        thresholds = gc.get_threshold()
        gc.set_threshold(0)  # what is made now is there to stay: looking for garbage would be in vain
        try:
            return application.load(self._target, self._order.callable, self._order.kind)
        except BaseException as error:  # whatever a tenant's code raises, SystemExit too, is a failed load
            self.fail(error)
        finally:
            if isinstance(sys.path, ModulePath):
                sys.path.settled = True
            if gc.get_threshold()[0] == 0:
                gc.set_threshold(*thresholds)

    def limit_files(self) -> None:
        """From here on the app's limit of open files holds."""
        processes.limit_files(self._order.open_files, self._order.open_files + RESERVE)

    def become_ready(
        self,
        in_flight: InFlight,
        finished: Callable[[], int],
        finish: Callable[[], Any],
        on_gate: Callable[[], Any] = lambda: None,
        threads: int = 0,
    ) -> None:
        """About to accept: stderr is the app's alone, the watch begins, and the first process is told."""
        self.give_stderr()
        order = self._order
        limits = (order.timeout, order.idle, order.open_files)
        try:
            Monitor(self._link, in_flight, *limits, finished, finish, on_gate, threads).start()
        except RuntimeError as error:  # the tenant has as many threads and processes as it may
            self.fail(error)
        os.close(self._given.stderr)
        self._given = self._given._replace(stderr=2)  # the number is free for what the app opens next
        os.set_inheritable(self._given.listener, False)
        processes.be_prompt()  # not before: who starts lets those go first who serve
        with contextlib.suppress(ValueError, RuntimeError, OSError):
            faulthandler.register(STACK_SIGNAL, file=2, all_threads=True)
        self._tell_loaded()

    def _tell_loaded(self) -> None:
        """Tell the first process, and give it a watch over the app's file: as long as nothing else happens, it has
        nothing to do but wait for that. A file that has changed already, and further processes, are something else.
        """
        watched, mark = self._watched
        told = {"event": "loaded", "watched": watched, "mark": mark}
        try:
            touch = Touch()
        except OSError:  # the app has used up its files
            sockets.send(self._link, told)
            return
        touch.watch(watched, mark)
        is_ordinary = not touch.due and self._order.processes == 1
        sockets.send(self._link, told, [touch.fileno()] if is_ordinary else [])
        touch.close()

    @property
    def _target(self) -> str:
        entry = self._order.entry
        return self.real(entry) if entry.startswith("/") else entry

    @property
    def _watched(self) -> tuple[Optional[str], Optional[List[int]]]:
        return application.watched_file(self._target)

    def fail(self, error: BaseException) -> NoReturn:
        """Tell why the app could not be loaded, and end."""
        text = application.explain(error)
        os.write(self._given.stderr, text.encode(errors="backslashreplace"))
        summary = f"{type(error).__name__}: {error}".strip(": ")[:500]
        if isinstance(error, (application.LoadError, virtualenv.Broken, CommandEnded)):
            summary, text = str(error)[:500], ""
        told = {
            "summary": summary,
            "traceback": text,
            "mark": application.MARKS.get(self.real(self._order.entry)),
            "virtualenv": isinstance(error, virtualenv.Broken),
        }
        sockets.send(self._link, {"event": "failed", **told})
        os._exit(LOAD_FAILED)


def _tell_of_faults() -> None:
    """Machine code that fails is to be told of on stderr, and by the signal: uWSGI would end with status 1."""
    for number in (signal.SIGSEGV, signal.SIGFPE):
        signal.signal(number, signal.SIG_DFL)
    faulthandler.enable(file=2, all_threads=False)


def _line_by_line(descriptor: int) -> TextIO:
    """A stream whose lines are in the log at once, whatever becomes of the process."""
    return open(descriptor, "w", buffering=1, closefd=False, encoding="utf-8", errors="backslashreplace")
