"""The supervisor process: put together from its parts, run until told to end.

Started by the keeper with the node's root, the descriptor of its channel to the keeper, and the node's settings.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import grp
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from innkeeper.edge.routes import Routes
from innkeeper.kernel import namespaces, processes
from innkeeper.spec import words
from innkeeper.spec.node import Layout, NodeSettings, parse_node
from innkeeper.spec.runtime import RuntimeSpec
from innkeeper.spec.site import SiteSpec, parse_site
from innkeeper.spec.values import bytes_of
from innkeeper.supervisor import adoption, confines, housekeeping, starting, troubles
from innkeeper.supervisor.acceptance import Acceptance
from innkeeper.supervisor.admission import Admission
from innkeeper.supervisor.answers import Answers
from innkeeper.supervisor.budget import Budget
from innkeeper.supervisor.chores import keep_doing
from innkeeper.supervisor.confines import Confines
from innkeeper.supervisor.control import Control
from innkeeper.supervisor.courtesy import Courtesy
from innkeeper.supervisor.custody import Custody
from innkeeper.supervisor.disk import Disk
from innkeeper.supervisor.learning import Learning
from innkeeper.supervisor.meter import INTERVAL, Meter
from innkeeper.supervisor.node import Node
from innkeeper.supervisor.nursery import Nursery
from innkeeper.supervisor.ports import Ports
from innkeeper.supervisor.preload import PRELOAD
from innkeeper.supervisor.pressure import Pressure
from innkeeper.supervisor.registry import LastGood, LastingFolder, Registry, read
from innkeeper.supervisor.services import Services
from innkeeper.supervisor.site import Site
from innkeeper.supervisor.tenants import Tenants
from innkeeper.supervisor.upkeep import Upkeep
from innkeeper.supervisor.wakeups import Wakeups
from innkeeper.supervisor.watch import Watch
from innkeeper.supervisor.zygotes import Zygote
from innkeeper.worker.order import RESERVE

WANTED_FILES = 200_000  # open files: one for each site, and some for each worker
LONGEST_QUEUE = 2_000  # starts that may wait for a place
WARM_TIME = 15.0  # seconds that the start of the node waits for its zygotes
DRAIN_TIME = 5.0  # seconds that workers have to finish when the node ends


def log(text: str) -> None:
    """Tell the operator; a traceback of a tenant's neither steers the terminal nor looks like the next entry.

    What can't be told, since the disk is full or nobody reads it any more, is lost: all else goes on.
    """
    entry = words.visible(text).replace("\n", f"\n{words.MARGIN}")
    with contextlib.suppress(OSError):
        print(f"innkeeper: {entry}", file=sys.stderr, flush=True)


class Supervisor:
    """The parts, and what happens to all of them."""

    def __init__(self, root: Path, channel: socket.socket, isolation: str, settings: NodeSettings) -> None:
        self.layout = Layout(root)
        self.settings = settings
        self.walled = namespaces.permitted() is None
        self.isolation = isolation
        self._custody = Custody(channel)
        self._stopped = asyncio.Event()
        self._acceptance = Acceptance()
        try:
            self._confines = confines.open_node(self.layout)
        except OSError as error:
            self._confines = Confines(None)
            log(f"no limits of memory, tasks and CPU can be set: {error}")

    async def run(self) -> None:
        """Take over what is there, serve until SIGTERM, and end all workers."""
        os.chdir(self.layout.run)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stopped.set)
        loop.add_signal_handler(signal.SIGHUP, lambda: self.node.refresh())
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        legacy = adoption.recover(self._custody)
        self._confines.take_over()
        self._assemble()
        roll = adoption.Roll(legacy.workers, self._custody, self.services.workers)
        self.services.last_identity = adoption.highest_identity(legacy.workers)
        self.upkeep = Upkeep(self.services)
        self.upkeep.open(legacy.zygotes)  # they may tell of workers that the one before had ordered
        unused = self.node.take_over(legacy.listeners, await roll.call())
        roll.pass_on()
        adoption.close(unused, self._custody.drop)
        self.services.routes.sweep(set(self.node.published))
        self._custody.say("published")
        gc.collect()
        gc.freeze()
        Control(Answers(self.node, self.upkeep, self.isolation).answer)
        self._watch_files()
        self.node.refresh()  # what changed between the first look and the watch
        loop.add_reader(self._custody.channel.fileno(), self._on_keeper)
        self._disk = Disk(self.services, self._halt)
        self.services.disk_problem = self._disk.problem
        self.services.disk_changed = self._disk.changed
        self.services.disk_used = lambda name: used.space if (used := self._disk.used(name)) else None
        self._courtesy = Courtesy(self._confines, self.tenants.specs, self._on_bomb)
        self._pressure = Pressure(
            self._confines, bytes_of(self.settings.memory), self.tenants.specs, self._sites_awake
        )
        if self.walled and self.settings.hibernate:
            self.services.can_hibernate = self._pressure.may_hibernate
        self.services.woken = self._pressure.hurry
        tidying = housekeeping.Housekeeping(self.services, self.node.published, self._renew_log)
        chores = [
            loop.create_task(chore)
            for chore in (
                keep_doing("looking at what is used", self._look, log),
                keep_doing("looking at who is busy", self._glance, log),
                keep_doing("tidying the logs", tidying.look, log, after=housekeeping.INTERVAL),
            )
        ]
        await self._warm()
        if not self.services.workers:
            self._confines.note_rest()
        self._custody.say("ready")
        await self._stopped.wait()
        for chore in chores:
            chore.cancel()
        await self._end()

    def _assemble(self) -> None:
        settings = self.settings
        gid = edge_gid(settings)
        learning = Learning(self.layout.lib / "learned.json")
        self.tenants = Tenants(self.layout, settings, log)
        self.services = Services(
            layout=self.layout,
            settings=settings,
            custody=self._custody,
            routes=Routes(self.layout),
            most_open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[1] - RESERVE,
            confines=self._confines,
            meter=Meter(
                self._confines,
                Budget(self.layout.lib / "cpu.json"),
                self.tenants.specs,
                lambda domain: site.spec.limits if (site := self.node.sites.get(domain)) else None,
                lambda domain, problem: self.node.sites[domain].note(problem),
            ),
            admission=Admission(settings.starts or 2 * (os.cpu_count() or 1), LONGEST_QUEUE),
            wakeups=Wakeups(lambda domain: self.node.ring(domain), lambda domain: self.node.shut(domain)),
            nursery=Nursery(
                self._make_zygote,
                lambda runtime: (*PRELOAD, *learning.wanted(runtime)),
                self._custody.drop,
                log,
            ),
            learning=learning,
            ports=Ports(self.layout.table, log),
            edge_gid=gid,
            log=log,
            tenants=self.tenants.specs,
            tenant_faults=self.tenants.faults,
            tenant_problem=self.tenants.problem,
        )
        sites = LastingFolder[SiteSpec](
            self.layout.sites,
            lambda name, text, file: parse_site(name, text, file=file, settings=settings),
            LastGood(self.layout.last_good, SiteSpec, log),
        )
        self.node = Node(Registry(sites), self.services)

    def _make_zygote(
        self,
        spec: RuntimeSpec,
        bare: bool,
        generation: int,
        wanted: tuple[str, ...],
        on_ready: Callable[[Zygote], None],
    ) -> Zygote:
        return Zygote(
            spec,
            self.layout,
            self._custody,
            walled=self.walled,
            bare=bare,
            generation=generation,
            wanted=wanted,
            on_ready=on_ready,
            on_forked=self._on_forked,
            on_refused=self._on_refused,
            doors=self._confines.zygote_doors,
            log=log,
        )

    def _on_forked(self, identity: int, pid: int, pidfd: int) -> None:
        worker = self.services.workers.get(identity)
        if worker is None:  # its order was withdrawn meanwhile
            processes.signal_by_pidfd(pidfd, signal.SIGKILL)
            os.close(pidfd)
            return
        worker.pid = pid
        self._custody.keep(worker.kept_name, [worker.channel.fileno(), pidfd], worker.note)
        worker.attach(pid, pidfd)

    def _on_refused(self, identity: int, reason: str) -> None:
        log(f"no worker could be forked: {reason}")
        if worker := self.services.workers.get(identity):
            worker.problem = troubles.refused(reason)
            worker.abandon()

    async def _warm(self) -> None:
        """Wait for the zygotes, so that the first request after "ready" is as quick as any; but not for ever."""
        end = asyncio.get_running_loop().time() + WARM_TIME
        while asyncio.get_running_loop().time() < end:
            if self.services.nursery.is_ready:
                return
            await asyncio.sleep(0.01)
        log("a runtime's zygote is not ready yet; its sites wait for it")

    def _watch_files(self) -> None:
        watch = Watch()
        watch.add(self.layout.sites, self.node.refresh)
        watch.add(self.layout.tenants, self._on_tenants)
        watch.add(self.layout.runtimes, self.upkeep.follow)

    def _on_tenants(self, names: set[str] | None) -> None:
        self.tenants.refresh(names)
        self.node.tenants_changed(names)

    async def _look(self) -> float:
        """Look at what is used, every few seconds."""
        await self.services.meter.look()
        self._disk.look()
        self._acceptance.look(self._sites_awake())
        self._confines.catch_up()  # last: it may fail
        return INTERVAL

    def _sites_awake(self) -> list[Site]:
        awake = {worker.domain for worker in self.services.workers.values()}
        return [site for domain in awake if (site := self.node.sites.get(domain))]

    async def _glance(self) -> float:
        """Look at who keeps the CPUs busy, and whether the disk fills up."""
        wait = await self._courtesy.look()
        self._pressure.look()
        self._pressure.relieve_swap()
        self._disk.glance()
        return wait

    def _renew_log(self, domain: str, kind: str) -> None:
        spec = self.node.published.get(domain)
        workers = [worker for worker in self.services.workers.values() if worker.domain == domain]
        if spec is not None:
            starting.renew_logs(spec, workers, kind, self.services)

    def _on_bomb(self, tenant: str, group: str) -> None:
        """A fork bomb: end the sandboxes that it goes off in."""
        self.services.meter.note_tasks(tenant, group, ended=True)
        for worker in list(self.services.workers.values()):
            if (worker.tenant, worker.group) == (tenant, group):
                worker.kill(excused=False)

    def _halt(self, tenant: str, commands: bool) -> None:
        """End a tenant's sites, and commands too, which would go on filling the disk."""
        for worker in list(self.services.workers.values()):
            if worker.tenant == tenant and (worker.domain or commands):
                worker.kill()

    def _on_keeper(self) -> None:
        """The keeper says nothing unasked: readable means that it is gone, and so must we be."""
        self._stopped.set()

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────

    async def _end(self) -> None:
        """Let workers finish for a moment, then end them all, and the zygotes."""
        workers = list(self.services.workers.values())
        for worker in workers:
            worker.ask("drain")
        end = asyncio.get_running_loop().time() + DRAIN_TIME
        while self.services.workers and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.02)
        for worker in list(self.services.workers.values()):
            worker.kill()
        self.services.nursery.stop()
        self.upkeep.close()
        await self.services.meter.look()
        self.services.meter.save()


def read_settings(layout: Layout) -> NodeSettings:
    """The node's settings; raises SpecError for a broken innkeeper.toml."""
    if not layout.settings_file.exists():
        return NodeSettings()
    return read(layout.settings_file, lambda _, text, file: parse_node(text, file=file))


def edge_gid(settings: NodeSettings) -> int:
    """The group that nginx runs as, which may reach sockets and homes."""
    return grp.getgrnam(settings.nginx_user).gr_gid


def main(arguments: list[str]) -> int:
    """Run the supervisor.

    Arguments: the root, the descriptor of the keeper's channel, the isolation in force, the settings as JSON.
    """
    root, descriptor, isolation, settings = arguments
    processes.set_name("ik supervisor")
    processes.raise_file_limit(WANTED_FILES)
    channel = socket.socket(fileno=int(descriptor))
    os.set_inheritable(channel.fileno(), False)
    known = msgspec.json.decode(settings, type=NodeSettings)
    asyncio.run(Supervisor(Path(root), channel, isolation, known).run())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
