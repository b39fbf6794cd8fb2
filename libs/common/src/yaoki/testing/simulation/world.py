"""Everything that outlives a process, and processes on it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from yaoki.runs import (
    ExecutorSettings,
    InMemoryJournal,
    LocalWorker,
    RunExecutor,
    RunLeases,
    RunRegistry,
    Workers,
)
from yaoki.testing.memory import InMemoryKeyValue
from yaoki.testing.simulation.hosts import Doing, Host
from yaoki.testing.simulation.network import CALM, Calls, Network, Weather
from yaoki.testing.simulation.process import CrashPoint, Process
from yaoki.testing.simulation.virtual_time import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from yaoki.events.runs import RunEvent
    from yaoki.runs.actions import Actions
    from yaoki.runs.ports import Journal, Recorded, Worker


class World:
    """Journal, buckets and hosts. Make it inside of `run_virtually`.

    Args:
        seed: Every choice follows from it.
        weather: Of the network between processes and what they share.

    Attributes:
        hosts: Workers by name, made when they are first ordered.
        doing: What was done.
    """

    def __init__(self, *, seed: int = 0, weather: Weather = CALM) -> None:
        self.rng = random.Random(seed)  # noqa: S311 - reproducible histories, no secrets
        self.clock = VirtualClock()
        self.network = Network(weather, self.rng, self.clock)
        self.journal = InMemoryJournal(self.clock)
        self.doing = Doing(self.rng, self.clock)
        self.hosts: dict[str, Host] = {}
        self._buckets: dict[str, InMemoryKeyValue] = {}
        self._ids = 0

    def bucket(self, name: str) -> InMemoryKeyValue:
        """A bucket that all processes share."""
        return self._buckets.setdefault(name, InMemoryKeyValue(self.clock))

    def new(self) -> str:
        """See `IdSource.new`."""
        self._ids += 1
        return f"id-{self._ids:06}"

    def reached_by(self, process: Process, port: object) -> Any:
        """Any port as `process` reaches it over the network; after its death it never answers."""
        return Calls(port, process, self.network)

    def host(self, name: str) -> Host:
        """The worker of this name."""
        if name not in self.hosts:
            self.hosts[name] = Host(name, self.doing, self.bucket("commands"), self.network, self.clock)
        return self.hosts[name]

    def executor(
        self,
        process: Process,
        *,
        run_kind: str = "recovery",
        local: Mapping[str, Actions] | None = None,
        remote: Mapping[str, Worker] | None = None,
        settings: ExecutorSettings | None = None,
    ) -> RunExecutor:
        """An executor in `process`.

        Args:
            process: Dies with it.
            run_kind: See `RunExecutor`.
            local: Actions of workers in this process, besides `local` with the action `act`.
            remote: Workers elsewhere; every other name is a host of this world, with the action `act`.
            settings: See `RunExecutor`.
        """
        actions: dict[str, Actions] = {"local": {"act": self.doing.action(process)}, **(local or {})}
        given = dict(remote or {})

        def find(name: str) -> Worker:
            return given.get(name) or self.host(name).as_reached_by(process)

        return RunExecutor(
            run_kind=run_kind,
            instance=process.name,
            journal=ProcessJournal(self.journal, process, self.network),
            workers=Workers({name: LocalWorker(own, clock=self.clock) for name, own in actions.items()}, remote=find),
            registry=RunRegistry(self.reached_by(process, self.bucket("runs"))),
            leases=RunLeases(self.reached_by(process, self.bucket("leases"))),
            clock=self.clock,
            ids=self,
            settings=settings,
        )


class ProcessJournal:
    """See `yaoki.runs.ports.Journal`: the world's journal as one process reaches it."""

    def __init__(self, journal: Journal, process: Process, network: Network) -> None:
        self._journal = journal
        self._process = process
        self._network = network

    async def append(self, event: RunEvent, *, after: int, event_id: str) -> Recorded:
        """See `Journal.append`."""
        await self._process.alive()
        self._process.passing(CrashPoint.APPEND_LOST)
        await self._process.alive()

        async def work() -> Recorded:
            return await self._journal.append(event, after=after, event_id=event_id)

        if self._process.passing(CrashPoint.APPEND_UNSEEN):
            self._network.later(work)
        recorded = await self._network.call(self._process, work)
        self._process.passing(CrashPoint.APPEND_ACKED)
        await self._process.alive()
        return recorded

    async def load(self, run_kind: str, run_id: str, *, after: int = 0) -> list[Recorded]:
        """See `Journal.load`."""
        return await self._network.call(self._process, lambda: self._journal.load(run_kind, run_id, after=after))

    async def incarnation(self) -> int:
        """See `Journal.incarnation`."""
        return await self._network.call(self._process, self._journal.incarnation)
