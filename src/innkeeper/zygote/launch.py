"""Starting a zygote: first build and enter its root, then become the runtime's own Python in there.

Run as a script by the supervisor's Python with one argument, a descriptor that the settings are read from.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any, Dict

from innkeeper.kernel import cgroups

# The second half of the way: the runtime's Python, told where our source is, takes over.
_BOOT = """
import json, sys
settings = json.load(open(int(sys.argv[1])))
sys.path.insert(0, settings["source"])
from innkeeper.zygote import launch
launch.take_over(settings)
"""


def written_down(settings: Dict[str, Any]) -> int:
    """A descriptor to read the settings from, as JSON: an argument of a command could not be as long."""
    descriptor = os.memfd_create("settings")
    with open(descriptor, "w", closefd=False) as file:
        json.dump(settings, file)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def main(argument: str) -> None:
    """Enter the root that the settings describe and execute the runtime's Python there."""
    with open(int(argument)) as file:
        settings = json.load(file)
    doors = settings.pop("doors")
    cgroups.enter(doors)
    for door in doors:
        os.close(door)
    if settings["walled"]:
        from innkeeper.zygote import template

        plan = template.Template(**settings.pop("template"))
        template.enter(plan)
        settings.update(source=template.SOURCE, tenants="/.node/tenants", logs="/.node/logs")
        settings["python"] = f"{plan.runtime_seen}/bin/python"
    os.set_inheritable(settings["channel"], True)
    environment = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/", "TZ": "UTC"}
    written = written_down(settings)
    os.set_inheritable(written, True)
    os.execve(settings["python"], [settings["python"], "-I", "-S", "-c", _BOOT, str(written)], environment)


def take_over(settings: Dict[str, Any]) -> None:
    """In the runtime's Python: import everything and serve."""
    from innkeeper.zygote import server, template

    sys.argv[:] = [""]
    settings["hide_source"] = template.hide_source
    server.serve(settings)


if __name__ == "__main__":
    main(sys.argv[1])
