"""Apache as its peers have it: tuned as its manual advises, with a part of the configuration for each of them."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from benchmarks.systems.base import PEOPLE, App, System, Unavailable
from tests.node.harness import command_line

_PROGRAM = Path("/usr/sbin/apache2")
_MODULES = Path("/usr/lib/apache2/modules")
_BASICS = ("mpm_event", "authz_core", "alias", "mime")
_ENVIRONMENT = {"PATH": os.defpath, "LANG": "C.UTF-8"}  # that of the bench is its own
_NOBODY = App("nobody", "", Path(), "")  # no site: to ask for it wakes none

# No look at .htaccess files nor for symbolic links, children that stay, as Apache's "Performance Tuning" advises;
# more threads than there are visitors at a time. A late answer is to be seen in the figures, not to become an error.
_CONFIGURATION = """\
ServerRoot "{place}"
PidFile "{place}/apache.pid"
DefaultRuntimeDir "{place}/run"
ServerName localhost
UseCanonicalName Off
User {people}
Group {people}
Listen 127.0.0.1:{port}
ListenBackLog 4096
{modules}
StartServers 2
ServerLimit 16
ThreadLimit 128
ThreadsPerChild 128
MaxRequestWorkers 2048
MinSpareThreads 64
MaxSpareThreads 512
Timeout 300
KeepAlive On
KeepAliveTimeout 65
MaxKeepAliveRequests 0
EnableSendfile On
TypesConfig /etc/mime.types
LogLevel warn
ErrorLog "{place}/error.log"
LogFormat "%V %a %u %t \\"%r\\" %>s %B \\"%{{Referer}}i\\" \\"%{{User-Agent}}i\\" %D" visits
CustomLog "{place}/access.log" visits
<Directory "/">
    Options FollowSymLinks
    AllowOverride None
    Require all denied
</Directory>
<Directory "{place}/apps">
    Require all granted
</Directory>
{special}
"""


class Apache(System):
    """Apache with some modules; a subclass says what makes an app a site."""

    package: ClassVar[str]
    modules: ClassVar[tuple[str, ...]]

    def start(self, sites: Sequence[App]) -> None:
        self.check()
        for folder in ("run", "sites", "apps"):
            (self.place / folder).mkdir(exist_ok=True)
        self.put(*sites)
        modules = "\n".join(
            f"LoadModule {name}_module {_MODULES}/mod_{name}.so" for name in (*_BASICS, *self.modules)
        )
        about = {"place": self.place, "people": PEOPLE, "port": self.port}
        self._file.write_text(_CONFIGURATION.format(**about, modules=modules, special=self.special()))
        self.run(*self._command("-D", "FOREGROUND"), ready=self._is_up, env=_ENVIRONMENT)

    def check(self) -> None:
        """Unavailable where Apache or one of the modules is missing."""
        if not _PROGRAM.exists():
            raise Unavailable("apache2 is not installed")
        if not all((_MODULES / f"mod_{name}.so").exists() for name in self.modules):
            raise Unavailable(f"{self.package} is not installed")

    def put(self, *sites: App) -> None:
        """Write what makes each of these apps a site."""
        raise NotImplementedError

    def special(self) -> str:
        """The subclass's own part of the configuration."""
        raise NotImplementedError

    def graceful(self) -> None:
        """Have Apache read its configuration anew."""
        subprocess.run(self._command("-k", "graceful"), env=_ENVIRONMENT, check=True)

    def give(self, path: Path) -> None:
        """To the user that all apps run as, so that Python can keep what it has compiled."""
        super().give(path)
        shutil.chown(path, PEOPLE, PEOPLE)

    def write(self, path: Path, text: str) -> None:
        """Write a file of a site's."""
        path.write_text(text)
        self.give(path)

    def running(self, mark: str) -> set[int]:
        """Its processes that have this in their command line."""
        return {pid for pid in self.pids() if mark.encode() in command_line(pid)}

    @property
    def _file(self) -> Path:
        return self.place / "apache.conf"

    def _command(self, *options: str) -> list[str]:
        return [str(_PROGRAM), "-f", str(self._file), *options]

    def _is_up(self) -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.ask(_NOBODY)[0] == 404
        return False


class VirtualHosts(Apache):
    """A virtual host for each site, in a file of its own: Apache has to be told of a new one."""

    def put(self, *sites: App) -> None:
        folder = self.place / "sites"
        there = len(list(folder.iterdir()))
        # In the order in which they came: what a module numbers keeps its number when one is added.
        for number, app in enumerate(sites, there):
            (folder / f"{number:06}.conf").write_text(
                f"<VirtualHost 127.0.0.1:{self.port}>\n"
                f"ServerName {app.host}\n"
                f'Alias "/static/" "{app.folder}/static/"\n'
                f"{self.host(app)}"
                "</VirtualHost>\n"
            )

    def add(self, app: App) -> None:
        self.put(app)
        self.graceful()

    def host(self, app: App) -> str:
        """The subclass's own lines in a virtual host."""
        raise NotImplementedError

    def special(self) -> str:
        """The first virtual host is for every name that has none."""
        return (
            f'<VirtualHost 127.0.0.1:{self.port}>\nRedirect 404 "/"\n</VirtualHost>\n'
            f'IncludeOptional "{self.place}/sites/*.conf"\n'
        )
