"""What is answered to whoever asks through the control socket."""

from __future__ import annotations

from typing import Any

from innkeeper.supervisor import helpers, report
from innkeeper.supervisor.control import Reply
from innkeeper.supervisor.node import Node
from innkeeper.supervisor.upkeep import Upkeep


class Answers:
    """The requests that there are, each by its word."""

    def __init__(self, node: Node, upkeep: Upkeep, isolation: str) -> None:
        self._node = node
        self._upkeep = upkeep
        self._isolation = isolation
        self._of = {
            "status": self._status,
            "site": self._site,
            "reload": self._reload,
            "run": self._run,
            "runtimes": self._runtimes,
            "warm": self._warm,
        }

    def answer(self, request: dict[str, Any], descriptors: list[int], reply: Reply) -> None:
        """KeyError or TypeError for a request that lacks something."""
        word = request["do"]
        if act := self._of.get(word):
            act(request, descriptors, reply)
        else:
            reply.refuse(f"this node does not know the request {word!r}; is it older than the command?")

    def _status(self, _request: dict[str, Any], _descriptors: list[int], reply: Reply) -> None:
        reply.send(report.status(self._node, self._isolation))

    def _site(self, request: dict[str, Any], _descriptors: list[int], reply: Reply) -> None:
        if domain := self._known(request["domain"], reply):
            reply.send(report.site(self._node, domain))

    def _reload(self, request: dict[str, Any], _descriptors: list[int], reply: Reply) -> None:
        domain = self._known(request["domain"], reply)
        if domain and domain in self._node.sites:
            self._node.sites[domain].reload()
            reply.send(report.site(self._node, domain))
        elif domain in self._node.published:
            reply.refuse(f"{domain} is a static site: there is no app to reload")
        elif domain:
            fault = self._node.registry.faults.get(domain) or self._node.faults[domain]
            reply.refuse(f"{fault.message}\n{fault.hint}")

    def _run(self, request: dict[str, Any], descriptors: list[int], reply: Reply) -> None:
        helpers.run(request, descriptors, reply, self._node.services)

    def _runtimes(self, _request: dict[str, Any], _descriptors: list[int], reply: Reply) -> None:
        reply.send(self._upkeep.report(self._node))

    def _warm(self, request: dict[str, Any], _descriptors: list[int], reply: Reply) -> None:
        self._upkeep.warm(request["runtime"], reply)

    def _known(self, domain: str, reply: Reply) -> str | None:
        node = self._node
        if domain in node.published or domain in node.registry.faults or domain in node.faults:
            return domain
        reply.refuse(f"there is no site {domain!r}; `innkeeper site list` shows those there are")
        return None
