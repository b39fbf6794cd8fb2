"""Planned maintenance from its announcement to the repair that waited for its end, as people and users see it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
import pytest
import pytest_asyncio
from yaoki import maintenance
from yaoki.commands.recovery import RunView, ShowRun, SteerRun
from yaoki.commands.slo import AnnounceMaintenance, WindowReply
from yaoki.errors import TransientError
from yaoki.events.recovery import PrimaryPromoted
from yaoki.events.runs import BranchDeferred, Ending, Intervention, RunFinished, StepStarted
from yaoki.flags import Switch, caching_key
from yaoki.maintenance import MaintenanceWindow, WindowBook
from yaoki.testing import eventually

from .harness import RescueSystem
from .harness.configuration import CACHE_TARGET, GROUP

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]

MINUTE = timedelta(minutes=1)
ON_ITS_WAY = timedelta(seconds=10)
DISRUPTIVE = {"kill-redis-clients", "confirm-redis-lost", "cut-redis-route", "stop-old-redis", "promote-redis"}


@pytest_asyncio.fixture
async def system() -> AsyncIterator[RescueSystem]:
    async with RescueSystem(standbys=None, redis=True, recoveries=2) as started:
        yield started


async def announce(system: RescueSystem) -> MaintenanceWindow:
    """One minute of maintenance, as soon as there can be one."""
    system.start_slo()

    async def accepted() -> MaintenanceWindow | None:
        # Windows begin with a minute; this one must not have begun when the announcement is read.
        start = (datetime.now(UTC) + ON_ITS_WAY).replace(second=0, microsecond=0) + MINUTE
        request = AnnounceMaintenance(
            targets=(CACHE_TARGET,), start=start, end=start + MINUTE, by="ada", reason="disks"
        )
        try:
            reply = await system.ask(request)
        except TransientError:  # it is still starting
            return None
        assert isinstance(reply, WindowReply)
        return reply.window

    window = await eventually(accepted, within=30, poll=0.2)
    assert window is not None
    return window


async def open_window(system: RescueSystem, *, minutes: int = 60) -> MaintenanceWindow:
    """A window that is open already, in the record that the slo role keeps."""
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    window = MaintenanceWindow(
        window_id="by-test",
        targets=(CACHE_TARGET,),
        start=now - MINUTE,
        end=now + minutes * MINUTE,
        announced_at=now - timedelta(hours=49),
        announced_by="ada",
    )
    record = msgspec.json.encode(WindowBook(windows=(window,)))
    await system.messaging.kv(maintenance.BUCKET).put(maintenance.KEY, record)
    return window


async def held_back(system: RescueSystem) -> RunView:
    """The run, as soon as nothing but what is held back is left in it."""

    async def waiting() -> RunView | None:
        started = await system.events(BranchDeferred)
        shown = await system.ask(ShowRun(run_id=started[0].run_id)) if started else None
        return shown if isinstance(shown, RunView) and shown.status == "waiting" else None

    found = await eventually(waiting, within=60, poll=0.2)
    assert found is not None
    return found


async def disrupted(system: RescueSystem) -> list[str]:
    """Disruptive steps that were ordered, in all runs."""
    return [entry.step for entry in await system.events(StepStarted) if entry.step in DISRUPTIVE]


async def caching_disabled(system: RescueSystem) -> bool:
    entry = await system.messaging.kv("flags").get(caching_key(GROUP))
    return bool(entry and entry.value and msgspec.json.decode(entry.value, type=Switch).on)


@pytest.mark.chaos  # windows are counted in whole minutes: it takes two
async def test_a_repair_waits_for_the_end_of_an_announced_window_and_survives_its_process(system: RescueSystem) -> None:
    window = await announce(system)
    await eventually(lambda: _is(datetime.now(UTC) >= window.start), within=90, poll=0.2)
    await system.redis[0].pause()

    run = await held_back(system)
    deferred = await system.events(BranchDeferred)
    assert window.window_id in run.reason
    assert {entry.hold for entry in deferred} == {window.window_id}
    assert {entry.until for entry in deferred} == {window.end}
    assert await caching_disabled(system), "what does not disrupt must not wait"
    await system.processes.kill(run.leader)
    system.start_recovery(run.leader)
    ended = await system.finished(within=150)

    assert ended.ending is Ending.COMPLETED, ended.reason
    route = await system.wait_primary("redis2", cluster=GROUP)
    assert route.primary is not None
    began = [await _began(system, step) for step in await disrupted(system)]
    assert began
    assert min(began) >= window.end


async def test_a_failure_that_ends_by_itself_ends_the_wait_without_a_disruption(system: RescueSystem) -> None:
    await open_window(system)
    await system.redis[0].pause()
    run = await held_back(system)

    await system.redis[0].resume()
    ended = await system.finished()

    # Whatever is heard of first, the clearing or the fresh probe of the next round.
    assert ended.run_id == run.run_id
    assert ended.ending is Ending.COMPLETED or "cleared" in ended.reason, ended.reason
    assert await disrupted(system) == []
    assert await system.events(PrimaryPromoted) == []

    async def caching_again() -> bool:
        return not await caching_disabled(system)

    await eventually(caching_again, within=30, poll=0.2)


async def test_a_person_lets_a_repair_begin_in_the_window(system: RescueSystem) -> None:
    await open_window(system)
    await system.redis[0].pause()
    run = await held_back(system)
    assert await disrupted(system) == []

    await system.ask(SteerRun(run_id=run.run_id, intervention=Intervention.RESUME, by="alice"))
    await system.wait_primary("redis2", cluster=GROUP)

    async def ended() -> list[RunFinished]:
        return [one for one in await system.events(RunFinished) if one.run_id == run.run_id]

    assert (await eventually(ended, within=60, poll=0.2))[0].ending is Ending.COMPLETED


async def test_a_record_that_nobody_can_read_holds_repairs_back_until_it_is_repaired(system: RescueSystem) -> None:
    slo = system.messaging.kv(maintenance.BUCKET)
    await slo.put(maintenance.KEY, b"{broken")
    await system.redis[0].pause()
    run = await held_back(system)
    assert "cannot be read" in run.reason

    await slo.put(maintenance.KEY, msgspec.json.encode(WindowBook()))

    await system.wait_primary("redis2", cluster=GROUP)


async def _is(value: bool) -> bool:  # noqa: FBT001 - what is waited for
    return value


async def _began(system: RescueSystem, step: str) -> datetime:
    """When the order of a step was stored, by the server's clock."""
    subject = system.messaging.subjects.events(context="recovery", event=StepStarted.event_name())
    sequence = 1
    while True:
        message = await system.messaging.jetstream.get_msg("EVENTS", sequence, subject=subject, next=True)
        if msgspec.json.decode(message.data or b"", type=StepStarted).step == step:
            assert message.time is not None
            return message.time
        sequence = (message.seq or 0) + 1
