"""The three ways in which Apache runs Python apps: mod_fcgid, mod_wsgi, Passenger."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.systems.apache_common import Apache, VirtualHosts
from benchmarks.systems.base import (
    PACKAGES,
    PEOPLE,
    PROCESSES,
    PYTHON,
    THREADS,
    App,
    Unavailable,
    end_all,
)

# mod_fcgid gives a process one request at a time: threads would only cost. The wrapper's folder is its sys.path[0].
_WRAPPER = """\
#!{python}
import sys
sys.path.append("{packages}")
from flup.server.fcgi_single import WSGIServer
from {app.module} import {app.callable}
WSGIServer({app.callable}).run()
"""
# `dbd` asks the database for each request, where `fastdbd` would never see a change. A process that has ended is
# looked for each second: until it is found, it counts as the one that a site may have.
_FCGID = """\
DBDriver sqlite3
DBDParams "{database}"
DBDMin 4
DBDKeep 128
DBDMax 128
RewriteEngine On
RewriteMap sites "dbd:SELECT name FROM sites WHERE host = %s"
RewriteCond ${{sites:%{{SERVER_NAME}}}} ^(.+)$
RewriteRule ^/(static/.+)$ {place}/apps/%1/$1 [L]
RewriteCond ${{sites:%{{SERVER_NAME}}}} ^(.+)$
RewriteRule ^(.*)$ {place}/apps/%1/site.fcgi$1 [L]
RewriteRule ^ - [R=404,L]
<Directory "{place}/apps">
    Options FollowSymLinks ExecCGI
    <Files "site.fcgi">
        SetHandler fcgid-script
    </Files>
</Directory>
FcgidIPCDir "{place}/run/fcgid"
FcgidProcessTableFile "{place}/run/fcgid.shm"
FcgidMaxProcessesPerClass {processes}
FcgidMinProcessesPerClass 0
FcgidSpawnScoreUpLimit 1000
FcgidIOTimeout 300
FcgidZombieScanInterval 1
FcgidErrorScanInterval 1
"""


class Fcgid(Apache):
    """mod_fcgid as the article had it: one configuration for all sites, and a look into a database per request."""

    name = "Apache + mod_fcgid"
    wakes = True
    package = "libapache2-mod-fcgid"
    modules = ("rewrite", "dbd", "fcgid")

    def check(self) -> None:
        super().check()
        if not any(Path("/usr/lib").glob("*/apr-util-1/apr_dbd_sqlite3.so")):
            raise Unavailable("libaprutil1-dbd-sqlite3 is not installed")
        if not (PACKAGES / "flup").exists():
            raise Unavailable("flup is not installed")

    def special(self) -> str:
        return _FCGID.format(place=self.place, database=self._database, processes=PROCESSES)

    def put(self, *sites: App) -> None:
        for app in sites:
            self._wrap(app)
        with contextlib.closing(sqlite3.connect(self._database)) as database, database:
            database.execute(
                "CREATE TABLE IF NOT EXISTS sites (host TEXT PRIMARY KEY, name TEXT) WITHOUT ROWID"
            )
            database.executemany("INSERT INTO sites VALUES (?, ?)", [(app.host, app.name) for app in sites])

    def add(self, app: App) -> None:
        self.put(app)

    def reload(self, app: App) -> None:
        """Its manual has no way, and it never looks at a file's time; but another inode is another app to it.

        The old process is left to its idle timeout: a request may be on its way to it.
        """
        self._wrap(app)

    def sleep(self) -> None:
        end_all(self.workers())

    def workers(self) -> set[int]:
        return self.running("/site.fcgi")

    @property
    def _database(self) -> Path:
        return self.place / "sites.db"

    def _wrap(self, app: App) -> None:
        beside = app.folder / "site.fcgi~"
        self.write(beside, _WRAPPER.format(python=PYTHON, packages=PACKAGES, app=app))
        beside.chmod(0o755)
        beside.rename(_wrapper(app))


def _wrapper(app: App) -> Path:
    return app.folder / "site.fcgi"


class ModWsgi(VirtualHosts):
    """mod_wsgi in daemon mode: the processes of all sites run, and have loaded their apps, from the start."""

    name = "Apache + mod_wsgi"
    package = "libapache2-mod-wsgi-py3"
    modules = ("wsgi",)
    most_sites = 300

    def start(self, sites: Sequence[App]) -> None:
        super().start(sites)
        for app in sites:  # as soon as it has loaded its app
            self.ask(app)

    def special(self) -> str:
        own = (
            f'WSGISocketPrefix "{self.place}/run/wsgi"\n'
            "WSGISocketRotation Off\n"  # else connections that are kept over a graceful restart lead to no daemon
            "WSGIRestrictEmbedded On\n"
        )
        return own + super().special()

    def host(self, app: App) -> str:
        return (
            f"WSGIDaemonProcess {app.name} user={PEOPLE} group={PEOPLE} processes={PROCESSES} threads={THREADS} "
            f'python-home="{PYTHON.parents[1]}" python-path="{app.folder}" home="{app.folder}" '
            "lang=C.UTF-8 locale=C.UTF-8 display-name=%{GROUP}\n"
            f'WSGIScriptAlias / "{_script(app)}" process-group={app.name} application-group=%{{GLOBAL}}\n'
        )

    def put(self, *sites: App) -> None:
        for app in sites:
            self.write(_script(app), f"from {app.module} import {app.callable} as application\n")
        super().put(*sites)

    def reload(self, app: App) -> None:
        os.utime(_script(app))

    def workers(self) -> set[int]:
        return self.running("(wsgi:")


def _script(app: App) -> Path:
    return app.folder / "site.wsgi"


_LOADER = Path("/usr/share/passenger/helper-scripts/wsgi-loader.py")
# Each second it looks whether a site is to be reloaded: by default a reload may go unnoticed for ten.
_PASSENGER = """\
PassengerRoot /usr/lib/ruby/vendor_ruby/phusion_passenger/locations.ini
PassengerInstanceRegistryDir "{place}/run"
PassengerPython "{python}"
PassengerMinInstances 0
PassengerMaxInstancesPerApp {processes}
PassengerMaxPoolSize 250
PassengerHighPerformance On
PassengerStatThrottleRate 1
PassengerDisableSecurityUpdateCheck On
PassengerDisableAnonymousTelemetry On
<Location "/static/">
    PassengerEnabled Off
</Location>
"""


class Passenger(VirtualHosts):
    """Passenger's open source edition: a site's process is started by a request, and serves one at a time."""

    name = "Apache + Passenger"
    wakes = True
    package = "libapache2-mod-passenger"
    modules = ("passenger",)
    most_sites = 500  # its agent takes its time over each virtual host whenever it starts

    def check(self) -> None:
        super().check()
        if sys.version_info >= (3, 12) and ", imp," in _LOADER.read_text():
            raise Unavailable("this Passenger needs a module that Python 3.12 has no more: imp")

    def special(self) -> str:
        return _PASSENGER.format(place=self.place, python=PYTHON, processes=PROCESSES) + super().special()

    def host(self, app: App) -> str:
        """It finds the app beside the folder that it is given."""
        return f'DocumentRoot "{app.folder}/public"\n'

    def put(self, *sites: App) -> None:
        for app in sites:
            text = f"from {app.module} import {app.callable} as application\n"
            self.write(app.folder / "passenger_wsgi.py", text)
            for name in ("public", "tmp"):
                (app.folder / name).mkdir(exist_ok=True)
                self.give(app.folder / name)
        super().put(*sites)

    def reload(self, app: App) -> None:
        (app.folder / "tmp/restart.txt").touch()

    def sleep(self) -> None:
        """A process that is gone is replaced when a request finds it gone."""
        end_all(self.workers())

    def workers(self) -> set[int]:
        return self.running(str(_LOADER))
