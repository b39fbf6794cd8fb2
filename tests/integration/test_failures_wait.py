"""A failure behind a paused run waits as long as it takes, whoever dies meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
import pytest_asyncio
from yaoki.commands.recovery import ListRuns, RunList, SteerRun
from yaoki.errors import TransientError
from yaoki.events.delivery import MessageDeadLettered
from yaoki.events.probe import FailureCleared, FailureDetected, FailureType
from yaoki.events.runs import Intervention, RunFinished, RunStarted
from yaoki.testing import eventually

from .harness import RescueSystem
from .harness.configuration import CACHE_TARGET

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]

REDIS = FailureType.REDIS_CONNECTION
FIRST, CLEARED, SECOND = "incident-1", "incident-2", "incident-3"


@pytest_asyncio.fixture
async def system() -> AsyncIterator[RescueSystem]:
    # Between its first action and its second a run waits long enough for a person to order something.
    async with RescueSystem(standbys=None, redis=True, recoveries=2, recovery={"transition_delay": "90s"}) as started:
        yield started


def event(kind: str, incident: str) -> dict[str, object]:
    return {
        "type": kind,
        "target": CACHE_TARGET,
        "target_kind": "redis",
        "region": "local",
        "vantage": "other",
        "failure_type": REDIS.value,
        "incident_id": incident,
    }


async def detect(system: RescueSystem, incident: str) -> None:
    body = event("FailureDetected", incident) | {"first_failed_at": "2026-01-01T00:00:00Z", "failures": 3}
    await system.messaging.publisher.publish(msgspec.convert(body, FailureDetected), event_id=incident)


async def clear(system: RescueSystem, incident: str) -> None:
    body = event("FailureCleared", incident) | {"down_since": "2026-01-01T00:00:00Z", "downtime_s": 1.0}
    await system.messaging.publisher.publish(msgspec.convert(body, FailureCleared), event_id=f"{incident}.cleared")


async def waiting(system: RescueSystem) -> list[str]:
    """Incidents that wait, in their order."""
    listed = await system.ask(ListRuns())
    assert isinstance(listed, RunList)
    return [one.incident_id for one in listed.waiting]


async def see(system: RescueSystem, *incidents: str) -> None:
    """Wait until exactly these wait."""

    async def seen() -> bool:
        try:
            return await waiting(system) == list(incidents)
        except TransientError:  # it was just killed
            return False

    assert await eventually(seen, within=30, poll=0.2)


async def settled(system: RescueSystem) -> bool:
    """Whether every failure event is done with; one that is redelivered ends among the dead letters one day."""
    consumer = await system.messaging.jetstream.consumer_info("EVENTS", "recovery-failures")
    return (consumer.num_ack_pending, consumer.num_pending) == (0, 0)


async def abort_run_of(system: RescueSystem, incident: str) -> None:
    """End the incident's run as soon as it has begun."""

    async def aborted() -> bool:
        started = [run.run_id for run in await system.events(RunStarted) if run.incident_id == incident]
        if started:
            await system.ask(SteerRun(run_id=started[0], intervention=Intervention.ABORT, by="alice"))
        return bool(started)

    assert await eventually(aborted, within=30, poll=0.2)


async def test_failures_wait_behind_a_paused_run_and_each_is_run_once(system: RescueSystem) -> None:
    await system.redis[0].pause()
    blocking = await system.started()
    assert blocking.incident_id is not None
    await system.ask(SteerRun(run_id=blocking.run_id, intervention=Intervention.PAUSE, by="alice"))
    # From here on only the test says what fails and what is well again.
    await system.processes.kill("prober")
    await detect(system, CLEARED)
    await see(system, CLEARED)
    await clear(system, CLEARED)
    await see(system)
    for incident in (FIRST, SECOND):
        await detect(system, incident)
    await see(system, FIRST, SECOND)

    for name in ("recovery-1", "recovery-2"):
        await system.processes.kill(name)
        system.start_recovery(name)
    await see(system, FIRST, SECOND)
    # An instance may have been killed between its work and its acknowledgement: then the event comes once more.
    await eventually(lambda: settled(system), within=60, poll=0.2)
    for incident in (blocking.incident_id, FIRST, SECOND):
        await abort_run_of(system, incident)

    async def all_ended() -> bool:
        return len(await system.events(RunFinished)) == len((blocking, FIRST, SECOND))

    assert await eventually(all_ended, within=60, poll=0.2)
    await see(system)
    assert [run.incident_id for run in await system.events(RunStarted)] == [blocking.incident_id, FIRST, SECOND]
    assert await system.events(MessageDeadLettered) == []
