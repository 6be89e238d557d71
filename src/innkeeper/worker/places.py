"""Where a tenant's directories are: as the tenant names them, and where they really lie."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Places:
    """The node's directories as the forking process sees them.

    `walled` tells whether a worker gets a root of its own, in which its paths are the tenant's; without one
    the tenant's paths are translated to where they lie on the host.
    """

    tenants: str  # holds NAME/home, NAME/www, NAME/tmp
    logs: str  # holds DOMAIN/
    walled: bool

    def home(self, tenant: str) -> str:
        return f"{self.tenants}/{tenant}/home"

    def www(self, tenant: str) -> str:
        return f"{self.tenants}/{tenant}/www"

    def tmp(self, tenant: str) -> str:
        return f"{self.tenants}/{tenant}/tmp"

    def log(self, domain: str) -> str:
        return f"{self.logs}/{domain}"

    def real(self, tenant: str, path: str) -> str:
        """Where `path`, as the tenant names it, is found by the tenant's own processes."""
        if self.walled:
            return path
        for seen, lies in (
            (f"/home/{tenant}", self.home(tenant)),
            ("/var/www", self.www(tenant)),
            ("/tmp", self.tmp(tenant)),
        ):
            if path == seen or path.startswith(seen + "/"):
                return lies + path[len(seen) :]
        return path
