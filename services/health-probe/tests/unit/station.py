"""Probers in memory: everything but the scheduler and the network, on buckets and a stream that they share."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec
from health_probe.board import Board
from health_probe.hysteresis import Thresholds
from health_probe.judge import Judge
from health_probe.judgement import Case
from health_probe.ownership import Ownership
from health_probe.prober import Prober
from health_probe.records import HealthRecord, VerdictRecord, record_key, verdict_key
from health_probe.reporter import Reporter
from health_probe.roster import Member, Roster
from health_probe.scheduler import Scheduler
from health_probe.targets import Component, MonitoredTarget
from health_probe.verdicts import Identity
from typing_extensions import override
from yaoki.clock import SystemClock
from yaoki.errors import RejectedError, TransientError
from yaoki.events.probe import ErrorClass, FailureType, ProbeResult, ProbeStatus
from yaoki.testing import InMemoryKeyValue, InMemoryPublisher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Mapping

START = datetime(2026, 1, 1, tzinfo=UTC)
THRESHOLDS = Thresholds(unhealthy_after=2, healthy_after=2, interval_s=1e9, suspect_interval_s=1e9)
TARGETS = ("cache", "db")
WHOLE_STORY = ["TargetSuspected", "FailureDetected", "FailureCleared"]


class Silence:
    """Neither metrics nor a live feed."""

    async def show(self, _record: HealthRecord) -> None: ...

    def took_result(self, _record: HealthRecord) -> None: ...

    def ran_late(self, _target: str, _seconds: float) -> None: ...

    def waiting(self, _events: int) -> None: ...

    def told(self, _event: str) -> None: ...

    def ownership(self, *, members: int, owned: frozenset[str], presided: int) -> None: ...

    def taken_over(self, targets: int) -> None: ...


class AwayPublisher(InMemoryPublisher):
    """Out of reach while `away`; refuses what is in `refused`. Forgets identities: nothing here drops a duplicate."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.refused: set[str] = set()
        self.repeated: list[str] = []

    @override
    async def publish(self, event: Any, **identity: Any) -> Any:
        if self.away:
            raise TransientError("NATS is away")
        if event.event_name() in self.refused:
            raise RejectedError("too large")
        published = await super().publish(event, **identity)
        if published.duplicate:
            self.repeated.append(published.id)
        return published


class World:
    """What survives a prober: the bucket and the stream.

    Attributes:
        began: From when on results are dated, one a second.
    """

    def __init__(self) -> None:
        self.health = InMemoryKeyValue()
        self.publisher = AwayPublisher()
        self.began = START
        self.second = 0

    async def holds(self, _event: Any, identity: str) -> bool:
        """See `reporter.Archive`."""
        return any(published.id == identity for published in self.publisher.published)

    def told(self, target: str = "db") -> list[str]:
        return [type(event).__name__ for event in self.publisher.events if event.entity == target]

    def incidents(self) -> set[str]:
        return {event.incident_id for event in self.publisher.events}  # type: ignore[attr-defined]  # all are ProbeEvents

    async def views(self, vantage: str = "local") -> dict[str, HealthRecord]:
        found = {}
        for target in TARGETS:
            entry = await self.health.get(record_key(target, vantage))
            if entry is not None and entry.value is not None:
                found[target] = msgspec.json.decode(entry.value, type=HealthRecord)
        return found

    async def verdict(self, target: str) -> VerdictRecord:
        entry = await self.health.get(verdict_key(target))
        assert entry is not None
        return msgspec.json.decode(entry.value or b"", type=VerdictRecord)

    def result(self, letter: str) -> ProbeResult:
        """F: failed, S: healthy, D: degraded, U: the prober's own fault."""
        self.second += 1
        status = {
            "F": ProbeStatus.UNHEALTHY,
            "S": ProbeStatus.HEALTHY,
            "D": ProbeStatus.DEGRADED,
            "U": ProbeStatus.UNKNOWN,
        }[letter]
        return ProbeResult(
            status=status,
            at=self.began + timedelta(seconds=self.second),
            response_ms=1.0,
            error_class=ErrorClass.REFUSED if letter == "F" else None,
        )


class NeverProbe:
    """Results are fed in by the test."""

    async def run(self, _deadline: Any) -> ProbeResult:
        raise AssertionError("nothing schedules this probe")


def monitored(name: str, vantage: str) -> MonitoredTarget:
    return MonitoredTarget(
        identity=Identity(
            target=name, kind="tcp", region="local", vantage=vantage, failure_type=FailureType.NETWORK_PARTITION
        ),
        probe=NeverProbe(),
        thresholds=THRESHOLDS,
        timeout_s=1.0,
        component=Component.SERVICES,
    )


class Station:
    """One prober that watches and judges what it is told to."""

    def __init__(
        self,
        world: World,
        *,
        me: str,
        vantage: str,
        vantages: tuple[str, ...],
        quorum: int,
        depends_on: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        self.world = world
        self.vantage = vantage
        self.may_speak = True
        clock, silence = SystemClock(), Silence()
        targets = [monitored(name, vantage) for name in TARGETS]
        self.board = Board(me=me, vantages=dict.fromkeys(TARGETS, vantages), clock=clock)
        cases = {
            target.name: Case(
                identity=target.identity,
                vantages=vantages,
                quorum=quorum,
                thresholds=THRESHOLDS,
                timeout_s=1.0,
                disagreement_after_s=60.0,
            )
            for target in targets
        }
        parents = {**dict.fromkeys(TARGETS, ()), **(depends_on or {})}
        self.judge = Judge(cases=cases, depends_on=parents, board=self.board, clock=clock)
        self.reporter = Reporter(
            board=self.board,
            judge=self.judge,
            publisher=world.publisher,
            archive=world,
            health=world.health,
            live=silence,
            gauges=silence,
            may_speak=lambda: self.may_speak,
        )
        self.prober = Prober(targets=targets, me=me, outlet=self.reporter, clock=clock)
        self.member = Member(vantage, me.partition("#")[0])
        self.ownership = Ownership(
            me=self.member,
            process=me,
            vantages=dict.fromkeys(TARGETS, vantages),
            prober=self.prober,
            board=self.board,
            judge=self.judge,
            reporter=self.reporter,
            scheduler=Scheduler(clock=clock, random=Random(1), observer=self.prober),  # noqa: S311 - jitter, no secret
            health=world.health,
            counts=silence,
            spawn=_spawn,
        )
        self.board.attach(self.ownership)
        self.judge.send_to(self.reporter)

    async def begin(self, *others: Member) -> Station:
        """Start on what the world has kept, with these others alive."""
        await self.look()
        self.ownership.on_roster(Roster(frozenset({self.member, *others})))
        return self

    async def look(self) -> None:
        """Take in everything that stands in the bucket."""
        for entry in await self.world.health.entries():
            self.board.take(entry)

    def observe(self, target: str, letters: str) -> None:
        for letter in letters:
            self.prober.observe(target, self.world.result(letter))

    @asynccontextmanager
    async def delivering(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.reporter.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})


def _spawn(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """No probe is scheduled: tests feed results in. Everything else runs."""
    if name.startswith("watch "):
        work.close()
        return asyncio.create_task(asyncio.sleep(0), name=name)
    return asyncio.create_task(work, name=name)


async def sole(world: World, me: str = "prober-1#1") -> Station:
    """The only prober of the only vantage."""
    return await Station(world, me=me, vantage="local", vantages=("local",), quorum=1).begin()
