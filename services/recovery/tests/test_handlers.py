"""Failures and clears as they arrive: repeated, late, out of order, and while another run is under way."""

from __future__ import annotations

from datetime import timedelta

from recovery.clearances import ClearanceStore
from recovery.guard_book import GuardBook
from recovery.guarding import Guards
from recovery.handlers import FailureHandlers
from recovery.incidents import Incidents
from recovery.intake import run_id_of
from recovery.waiting_failures import WaitingFailures
from typing_extensions import override
from yaoki.clock import Uuid7Source
from yaoki.config import Config, GuardSettings, RecoverySection
from yaoki.events.probe import FailureCleared, FailureType
from yaoki.events.recovery import EscalatedToHuman
from yaoki.events.runs import Ending, RunFinished
from yaoki.flag_store import FlagStore
from yaoki.flags import maintenance_key
from yaoki.messaging.ports import Envelope
from yaoki.runs import InMemoryJournal, LocalWorker, RunExecutor, RunLeases, RunRegistry, Workers
from yaoki.subjects import Subjects
from yaoki.testing import InMemoryKeyValue, InMemoryPublisher

from .builders import T0, config, failure
from .fakes import HandClock

DATABASE = FailureType.DATABASE_CONNECTION


class Desk:
    """The handlers, with an executor that claims and journals and whose runs nobody drives to an end."""

    def __init__(self, settings: Config | None = None) -> None:
        clock = self.clock = HandClock()
        self.publisher = InMemoryPublisher()
        self.bucket = InMemoryKeyValue()
        self.flags = FlagStore(self.bucket, self.publisher, clock)
        runs = self.runs_bucket = InMemoryKeyValue()
        self.journal = InMemoryJournal(clock)
        self.executor = RunExecutor(
            run_kind="recovery",
            instance="recovery-1",
            journal=self.journal,
            workers=Workers({"recovery": LocalWorker({}, clock=clock)}),
            registry=RunRegistry(runs),
            leases=_NoLeases(InMemoryKeyValue()),
            clock=clock,
            ids=Uuid7Source(),
        )
        clearances = ClearanceStore(runs)
        settings = settings or config(recovery=RecoverySection(guards=GuardSettings(pause=0.0)))
        self.guards = Guards(settings, GuardBook(runs), clock)
        self.incidents = Incidents(
            settings,
            executor=self.executor,
            clearances=clearances,
            waiting=WaitingFailures(runs),
            guards=self.guards,
            publisher=self.publisher,
            subjects=Subjects(),
            clock=clock,
        )
        self.handlers = FailureHandlers(
            self.incidents, clearances=clearances, flags=self.flags, flags_bucket=self.bucket
        )

    async def deliver(self, event: object, sequence: int) -> None:
        """As the messaging layer would."""
        envelope = Envelope(id=f"message-{sequence}", source="/probe/1", time=T0, sequence=sequence)
        await self.handlers.on_failure_event(event, envelope)  # type: ignore[arg-type]  # one of two events

    async def end(self, run_id: str, ending: Ending = Ending.EXHAUSTED) -> None:
        """As if somebody had driven the run to its end."""
        ended = RunFinished(run_kind="recovery", run_id=run_id, ending=ending, duration_s=1.0)
        entries = await self.journal.load("recovery", run_id)
        await self.journal.append(ended, after=entries[-1].sequence, event_id=f"{run_id}.end")

    async def waiting(self) -> list[str]:
        """Incidents that wait."""
        return [waiting.failure.incident_id for waiting in await self.incidents.waiting()]

    async def runs(self) -> list[str]:
        """Ids of unfinished runs."""
        return [view.run_id for view in await self.executor.unfinished()]


class _NoLeases(RunLeases):
    """Nobody may lead, so that runs stay as they were started."""

    @override
    async def take(self, run_kind: str, run_id: str, holder: str) -> None:
        del run_kind, run_id, holder


def cleared(incident_id: str = "incident-1") -> FailureCleared:
    return FailureCleared(
        target="orders-db",
        target_kind="postgres",
        region="local",
        vantage="prober-1",
        failure_type=DATABASE,
        incident_id=incident_id,
        down_since=T0 - timedelta(seconds=5),
        downtime_s=5.0,
    )


async def test_a_failure_delivered_twice_is_one_run() -> None:
    desk = Desk()

    await desk.deliver(failure(), 7)
    await desk.deliver(failure(), 7)

    assert await desk.runs() == [run_id_of("incident-1", DATABASE)]


async def test_a_failure_that_arrives_after_its_clear_starts_nothing() -> None:
    desk = Desk()

    await desk.deliver(cleared(), 8)
    await desk.deliver(failure(), 7)

    assert await desk.runs() == []


async def test_a_new_failure_after_a_clear_starts_a_run() -> None:
    desk = Desk()

    await desk.deliver(cleared("incident-0"), 6)
    await desk.deliver(failure(), 7)

    assert len(await desk.runs()) == 1


async def test_a_second_failure_of_the_same_cluster_waits_for_the_end_of_the_first() -> None:
    desk = Desk()
    await desk.deliver(failure(), 7)
    await desk.deliver(failure(incident_id="incident-2"), 8)
    await desk.incidents.look()

    assert await desk.runs() == [run_id_of("incident-1", DATABASE)]
    assert await desk.waiting() == ["incident-2"]

    await desk.end(run_id_of("incident-1", DATABASE))
    await desk.incidents.look()

    assert await desk.runs() == [run_id_of("incident-2", DATABASE)]
    assert await desk.waiting() == []


async def test_waiting_failures_are_taken_up_one_after_the_other_in_their_order() -> None:
    desk = Desk()
    for sequence, number in enumerate((1, 3, 2), start=7):
        await desk.deliver(failure(incident_id=f"incident-{number}"), sequence)

    for number in (1, 3, 2):
        assert await desk.runs() == [run_id_of(f"incident-{number}", DATABASE)]
        await desk.end(run_id_of(f"incident-{number}", DATABASE))
        await desk.incidents.look()

    assert await desk.waiting() == []


async def test_a_waiting_failure_that_is_cleared_starts_nothing() -> None:
    desk = Desk()
    await desk.deliver(failure(), 7)
    await desk.deliver(failure(incident_id="incident-2"), 8)
    await desk.deliver(cleared("incident-2"), 9)

    await desk.incidents.look()
    await desk.end(run_id_of("incident-1", DATABASE))
    await desk.incidents.look()

    assert await desk.waiting() == []
    assert await desk.runs() == []


async def test_a_failure_that_was_started_and_is_still_in_the_queue_is_not_run_again() -> None:
    """A crash between the start of its run and its removal, and the run is over by now."""
    desk = Desk()
    await desk.deliver(failure(), 7)
    await desk.deliver(failure(incident_id="incident-2"), 8)
    (left,) = await desk.incidents.waiting()
    await desk.end(run_id_of("incident-1", DATABASE))
    await desk.incidents.look()
    await desk.end(run_id_of("incident-2", DATABASE))

    await WaitingFailures(desk.runs_bucket).add(left)
    await desk.incidents.look()

    assert await desk.runs() == []
    assert await desk.waiting() == []


async def test_a_clear_ends_the_maintenance_of_its_own_run_only() -> None:
    desk = Desk()
    await desk.flags.set_switch(maintenance_key(), on=True, by=run_id_of("incident-1", DATABASE))

    await desk.deliver(cleared("incident-0"), 6)
    before = await desk.flags.switch(maintenance_key())
    await desk.deliver(cleared("incident-1"), 7)
    after = await desk.flags.switch(maintenance_key())

    assert before is not None
    assert after is not None
    assert (before.on, after.on) == (True, False)


async def test_a_failure_without_a_chain_calls_people_once() -> None:
    desk = Desk()
    storage = failure(failure_type=FailureType.BACKUP_STALE)

    await desk.deliver(storage, 7)
    await desk.deliver(storage, 7)

    called = [event for event in desk.publisher.events if isinstance(event, EscalatedToHuman)]
    assert len(called) == 1
    assert called[0].failure == storage
    assert await desk.runs() == []
