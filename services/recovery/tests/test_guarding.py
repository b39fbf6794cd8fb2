"""Failures as they arrive, with the guards between them and their runs."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from recovery.controls import ControlHandlers
from recovery.guard_book import Helped, OpenFailure
from recovery.ports import Beginning
from yaoki.commands.recovery import AcknowledgeFailure, PauseAutomation, ResumeAutomation, RunHistory
from yaoki.config import Config, GuardSettings, RecoverySection, TcpTarget
from yaoki.epoch import NO_EPOCH
from yaoki.errors import RejectedError
from yaoki.events.probe import FailureCleared, FailureType, FlappingStopped, TargetFlapping
from yaoki.events.recovery import AutomationPaused, AutomationResumed, EscalatedToHuman, FailureAcknowledged
from yaoki.events.runs import Ending, RunStarted, StepStarted
from yaoki.plans import Phase
from yaoki.runs.fold import fold

from .builders import T0, config, failure
from .test_handlers import Desk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from yaoki.events.probe import FailureDetected

TARGETS = 40


def many(guards: GuardSettings) -> Config:
    """Forty targets with a chain."""
    targets = {f"web-{index}": TcpTarget(host="127.0.0.1", port=1 + index) for index in range(TARGETS)}
    base = config(recovery=RecoverySection(guards=guards))
    return msgspec.structs.replace(base, targets={**base.targets, **targets})


def outage(index: int, incident: str = "") -> FailureDetected:
    """`web-<index>` cannot be reached."""
    return failure(
        target=f"web-{index}",
        target_kind="tcp",
        failure_type=FailureType.EXTERNAL_SERVICE,
        incident_id=incident or f"incident-{index}",
    )


def cleared(of: FailureDetected) -> FailureCleared:
    return FailureCleared(
        target=of.target,
        target_kind=of.target_kind,
        region="local",
        vantage="prober-1",
        failure_type=of.failure_type,
        incident_id=of.incident_id,
        down_since=T0,
        downtime_s=5.0,
    )


def called(desk: Desk) -> list[str]:
    return [event.reason for event in desk.publisher.events if isinstance(event, EscalatedToHuman)]


async def test_failures_in_the_same_moment_call_people_once_about_the_brake(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are handled side by side, and each of them could be the one that finds the brake needed."""
    desk = Desk(many(GuardSettings(pause=0.0, brake_targets=10, brake_for=60.0)))
    publish = desk.publisher.publish

    async def slowly(*arguments: Any, **named: Any) -> Any:
        await asyncio.sleep(0)
        return await publish(*arguments, **named)

    monkeypatch.setattr(desk.publisher, "publish", slowly)

    await asyncio.gather(*(desk.deliver(outage(index), 1 + index) for index in range(TARGETS)))

    assert len(called(desk)) == 1
    assert len(await desk.waiting()) + len(await desk.runs()) == TARGETS


async def test_failures_that_arrive_during_a_slow_look_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The look had read that there was none; what it found must not hide what has come since."""
    desk = Desk(many(GuardSettings(pause=0.0, brake_targets=10)))
    read, answered = desk.guards.book.open_failures, asyncio.Event()

    async def slowly() -> list[OpenFailure]:
        found = await read()
        await answered.wait()
        return found

    monkeypatch.setattr(desk.guards.book, "open_failures", slowly)
    look = asyncio.create_task(desk.guards.refresh())
    await asyncio.sleep(0)
    for index in range(10):
        await desk.guards.opened(OpenFailure(failure=outage(index), sequence=1 + index, since=T0))
    answered.set()
    await look

    held = desk.guards.holds("web-20")
    assert held is not None
    assert held.guard == "brake"


async def test_the_brake_keeps_a_mass_failure_from_mass_action_and_loses_nothing() -> None:
    """Nine runs began before it was one; one call to people; all the rest begins when the cause is gone."""
    desk = Desk(many(GuardSettings(pause=0.0, brake_targets=10, brake_for=60.0)))
    failures = [outage(index) for index in range(TARGETS)]
    for sequence, one in enumerate(failures, 1):
        await desk.deliver(one, sequence)
    begun = len(await desk.runs())
    for _ in range(3):
        await desk.incidents.look()

    assert begun == len(await desk.runs()) == 9
    assert len(await desk.waiting()) == TARGETS - 9
    assert len(called(desk)) == 1
    assert "failed at once: automation stands still" in called(desk)[0]

    for sequence, one in enumerate(failures[:35], 100):
        await desk.deliver(cleared(one), sequence)
    await desk.incidents.look()
    assert len(await desk.runs()) == 9
    desk.clock.forward(61)
    await desk.incidents.look()
    await desk.incidents.look()

    assert await desk.waiting() == []
    assert len(await desk.runs()) == 14


async def test_a_clear_that_arrives_late_closes_no_newer_failure() -> None:
    """The brake and the auditor would not see it any more."""
    desk = Desk(many(GuardSettings(pause=0.0)))
    await desk.deliver(outage(0, "incident-2"), 20)
    await desk.deliver(cleared(outage(0, "incident-1")), 10)
    await desk.incidents.look()
    assert desk.guards.snapshot.failed == {"web-0"}

    await desk.deliver(cleared(outage(0, "incident-2")), 30)
    await desk.incidents.look()
    assert desk.guards.snapshot.failed == frozenset()


async def test_a_target_that_keeps_failing_is_a_persons() -> None:
    """Two runs an hour are allowed: the third failure waits, and people are called once."""
    desk = Desk(many(GuardSettings(pause=0.0, runs_per_hour=2)))
    for number in range(3):
        one = outage(0, f"incident-{number}")
        await desk.deliver(one, 10 * number + 1)
        if number < 2:
            await desk.end((await desk.runs())[0])
            await desk.deliver(cleared(one), 10 * number + 2)
    for _ in range(3):
        await desk.incidents.look()

    assert await desk.runs() == []
    assert await desk.waiting() == ["incident-2"]
    assert len(called(desk)) == 1
    assert "at most 2 are allowed" in called(desk)[0]
    desk.clock.forward(3600)
    await desk.incidents.look()
    assert len(await desk.runs()) == 1


async def test_pauses_between_runs_grow() -> None:
    """The second run waits for the pause, without anybody being called."""
    desk = Desk(many(GuardSettings(pause=30.0)))
    await desk.deliver(outage(0, "incident-0"), 1)
    await desk.end((await desk.runs())[0])
    await desk.deliver(outage(0, "incident-1"), 2)
    (waiting,) = await desk.incidents.waiting()

    assert await desk.runs() == []
    assert waiting.until == T0 + timedelta(seconds=30)
    assert called(desk) == []
    desk.clock.forward(30)
    await desk.incidents.look()
    assert len(await desk.runs()) == 1


async def test_what_flaps_is_left_alone_until_it_is_steady() -> None:
    """People are told once."""
    desk = Desk(many(GuardSettings(pause=0.0)))
    about: dict[str, Any] = {
        "target": "web-0", "target_kind": "tcp", "region": "local", "vantage": "prober-1",
        "failure_type": FailureType.EXTERNAL_SERVICE, "incident_id": "flaps", "since": T0,
    }  # fmt: skip
    await desk.deliver(TargetFlapping(**about, failed=False, share=0.5), 1)
    await desk.incidents.look()
    await desk.deliver(outage(0), 2)
    await desk.deliver(outage(1), 3)
    await desk.incidents.look()

    assert await desk.waiting() == ["incident-0"]
    assert len(await desk.runs()) == 1
    assert len(called(desk)) == 1
    await desk.deliver(FlappingStopped(**about, failed=True), 4)
    await desk.incidents.look()
    assert len(await desk.runs()) == 2


@pytest.mark.parametrize(("failed_after_s", "first"), [(100.0, "notify"), (400.0, "open-circuit")])
async def test_a_relapse_within_the_soak_time_goes_on_with_the_next_action(failed_after_s: float, first: str) -> None:
    """Later it is a failure like any other."""
    desk = Desk(many(GuardSettings(pause=0.0, soak=180.0)))
    helped = Helped(run_id="run-0", branch="open-circuit", at=T0)
    await desk.guards.book.helped("web-0", FailureType.EXTERNAL_SERVICE, helped)

    at = T0 + timedelta(seconds=failed_after_s)
    await desk.deliver(msgspec.structs.replace(outage(0), first_failed_at=at), 1)

    started = (await desk.journal.load("recovery", (await desk.runs())[0]))[0].event
    assert isinstance(started, RunStarted)
    assert next(one.name for one in started.plan.branches if not one.name.startswith("recheck")) == first


@pytest.mark.parametrize(
    ("branch", "ending", "remembered"),
    [
        ("open-circuit", Ending.COMPLETED, "open-circuit"),
        ("recheck", Ending.COMPLETED, ""),
        ("open-circuit", Ending.EXHAUSTED, ""),
    ],
)
async def test_only_an_action_that_a_probe_verified_counts_as_help(
    branch: str, ending: Ending, remembered: str
) -> None:
    """Neither a target that was well by itself, nor a run that ended otherwise."""
    desk = Desk(many(GuardSettings(pause=0.0)))
    await desk.deliver(outage(0), 1)
    run_id = (await desk.runs())[0]
    entries = await desk.journal.load("recovery", run_id)
    step = StepStarted(
        run_kind="recovery", run_id=run_id, branch=branch, step=branch, phase=Phase.DO, attempt=1, command_id="c-1",
        worker="recovery", action=branch, params={}, epoch=NO_EPOCH, expires_at=T0,
    )  # fmt: skip
    await desk.journal.append(step, after=entries[-1].sequence, event_id="s-1")
    await desk.end(run_id, ending)

    state = fold(await desk.journal.load("recovery", run_id))
    assert state is not None
    await desk.guards.note_end(state)

    helped = (await desk.guards.book.target("web-0")).helped
    assert {one.branch for one in helped.values()} == ({remembered} if remembered else set())


class Starts:
    """Beginnings in the event stream."""

    def __init__(self, *beginnings: Beginning) -> None:
        self.beginnings = beginnings

    async def read(self, *, after: int, since: datetime | None) -> AsyncIterator[Beginning]:
        for one in self.beginnings:
            if one.sequence > after and (after or since is None or one.at >= since):
                yield one


def controls(desk: Desk, settings: Config, starts: Starts | None = None) -> ControlHandlers:
    return ControlHandlers(
        settings,
        guards=desk.guards,
        starts=starts or Starts(),
        runs=desk.executor,
        publisher=desk.publisher,
        clock=desk.clock,
    )


async def test_people_pause_and_resume_automation() -> None:
    """What failed meanwhile begins afterwards; both orders stand in the event stream with their author."""
    settings = many(GuardSettings(pause=0.0))
    desk = Desk(settings)
    people = controls(desk, settings)

    state = await people.pause(PauseAutomation(by="alice", target="web-0", reason="moving racks"))
    await desk.deliver(outage(0), 1)
    await desk.deliver(outage(1), 2)
    await desk.incidents.look()
    assert [(one.target, one.by) for one in state.paused] == [("web-0", "alice")]
    assert await desk.waiting() == ["incident-0"]
    assert called(desk) == []
    with pytest.raises(RejectedError, match="automation for all is not paused; paused are: web-0"):
        await people.resume(ResumeAutomation(by="alice"))
    state = await people.resume(ResumeAutomation(by="bob", target="web-0"))
    await desk.incidents.look()

    assert state.paused == ()
    assert await desk.waiting() == []
    assert len(await desk.runs()) == 2
    said = [event for event in desk.publisher.events if isinstance(event, AutomationPaused | AutomationResumed)]
    assert [(type(event).__name__, event.scope, event.by) for event in said] == [
        ("AutomationPaused", "web-0", "alice"),
        ("AutomationResumed", "web-0", "bob"),
    ]


async def test_nobody_is_called_about_what_a_person_has_taken_over() -> None:
    """The failure goes on waiting; who took it over stands in the event stream."""
    settings = many(GuardSettings(pause=0.0, runs_per_hour=1))
    desk = Desk(settings)
    people = controls(desk, settings)
    with pytest.raises(RejectedError, match="has no open failure; open are: none"):
        await people.acknowledge(AcknowledgeFailure(by="alice", target="web-0"))
    await desk.deliver(outage(0), 1)
    await desk.end((await desk.runs())[0], Ending.CANCELLED)

    taken = await people.acknowledge(AcknowledgeFailure(by="alice", target="web-0", comment="I am on it"))
    desk.clock.forward(61)
    await desk.incidents.look()
    await desk.incidents.audit()

    assert taken.failure_types == (FailureType.EXTERNAL_SERVICE,)
    assert called(desk) == []
    (said,) = [event for event in desk.publisher.events if isinstance(event, FailureAcknowledged)]
    assert (said.by, said.incident_id) == ("alice", "incident-0")


async def test_a_misspelt_target_pauses_nothing() -> None:
    """And the right ones are named."""
    settings = many(GuardSettings())
    desk = Desk(settings)

    with pytest.raises(RejectedError, match="target 'wep-0' is not configured"):
        await controls(desk, settings).pause(PauseAutomation(by="alice", target="wep-0"))


async def test_a_failure_that_was_lost_before_its_run_is_taken_up_again() -> None:
    """As if its instance had died between the two; the auditor of any other finds it."""
    desk = Desk(many(GuardSettings(pause=0.0)))
    lost = OpenFailure(failure=outage(0), sequence=1, since=desk.clock.now())
    await desk.guards.book.open(lost)
    await desk.incidents.look()

    await desk.incidents.audit()
    assert await desk.runs() == []
    desk.clock.forward(61)
    await desk.incidents.audit()

    assert len(await desk.runs()) == 1


async def test_a_run_that_was_ended_without_a_repair_is_told_once() -> None:
    """Somebody aborted it, and the target is still down."""
    desk = Desk(many(GuardSettings(pause=0.0)))
    await desk.deliver(outage(0), 1)
    await desk.end((await desk.runs())[0], Ending.CANCELLED)
    desk.clock.forward(61)
    for _ in range(2):
        await desk.incidents.look()
        await desk.incidents.audit()

    assert len(called(desk)) == 1
    assert "ended cancelled, and the failure is still there" in called(desk)[0]


async def test_history_is_read_by_target_and_time_in_pages() -> None:
    """Each page names where the next one begins."""
    settings = many(GuardSettings(pause=0.0, brake_targets=100, brake_percent=100.0))
    desk = Desk(settings)
    beginnings = []
    for index in range(5):
        await desk.deliver(outage(index % 2, f"incident-{index}"), index + 1)
        for run_id in await desk.runs():
            at = T0 + timedelta(minutes=index)
            beginnings.append(Beginning(run_id=run_id, target=f"web-{index % 2}", at=at, sequence=10 * (index + 1)))
            await desk.end(run_id)
    people = controls(desk, settings, Starts(*beginnings))

    first = await people.history(RunHistory(target="web-0", limit=2))
    second = await people.history(RunHistory(target="web-0", limit=2, after=first.next or 0))
    later = await people.history(RunHistory(since=T0 + timedelta(minutes=1), until=T0 + timedelta(minutes=3)))

    assert [one.incident_id for one in first.runs] == ["incident-0", "incident-2"]
    assert [one.incident_id for one in second.runs] == ["incident-4"]
    assert second.next is None
    assert [one.incident_id for one in later.runs] == ["incident-1", "incident-2"]
    assert first.runs[0].facts["target"] == "web-0"
    assert first.runs[0].ended_at is not None
