"""Control groups: what a group of processes may use together, and what it has used; versions 2 and 1.

A `Group` is one name in as many hierarchies as the machine has: one of version 2, or one per controller of
version 1. The kernel's own names and units stay in here.
"""

from innkeeper.kernel.cgroups.group import Group, Limits, Usage, enter
from innkeeper.kernel.cgroups.hierarchies import find
from innkeeper.kernel.cgroups.tenure import leave, reason, settle

__all__ = ["Group", "Limits", "Usage", "enter", "find", "leave", "reason", "settle"]
