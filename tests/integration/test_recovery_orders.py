"""What people ask and order of recovery over NATS; wrong input changes nothing and says what was expected."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
import pytest_asyncio
from yaoki.commands.recovery import ListRuns, OrderAccepted, RunChain, RunList, RunView, ShowRun, SteerRun
from yaoki.errors import ErrorCode, RejectedError
from yaoki.events.probe import FailureDetected, FailureType
from yaoki.events.recovery import EscalatedToHuman
from yaoki.events.runs import Ending, Intervention, RunStarted
from yaoki.testing import eventually

from .harness import RescueSystem
from .harness.configuration import CACHE_TARGET

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]

REDIS = FailureType.REDIS_CONNECTION


@pytest_asyncio.fixture
async def system() -> AsyncIterator[RescueSystem]:
    async with RescueSystem(standbys=None, redis=True) as started:
        yield started


async def test_an_ordered_chain_runs_and_can_be_seen(system: RescueSystem) -> None:
    accepted = await system.ask(RunChain(target=CACHE_TARGET, failure_type=REDIS, by="alice", reason="drill"))
    assert isinstance(accepted, OrderAccepted)
    assert accepted.run_id in accepted.watch

    ended = await system.finished()
    shown = await system.ask(ShowRun(run_id=accepted.run_id))

    assert (ended.run_id, ended.ending) == (accepted.run_id, Ending.COMPLETED)
    assert isinstance(shown, RunView)
    assert shown.status == "completed"
    assert [step.step for step in shown.steps][:1] == ["kill-redis-clients"]
    assert (await system.started()).started_by == "alice"

    async def nothing_listed() -> bool:
        listed = await system.ask(ListRuns())
        assert isinstance(listed, RunList)
        return listed.runs == ()

    await eventually(nothing_listed, within=20)  # its end stands in the journal before its resource is free


async def test_the_same_order_twice_is_one_run(system: RescueSystem) -> None:
    order = RunChain(target=CACHE_TARGET, failure_type=REDIS, by="alice", order_id="drill-1")

    first = await system.ask(order)
    second = await system.ask(order)
    await system.finished()

    assert first == second
    assert len(await system.events(RunStarted)) == 1


async def test_wrong_orders_are_refused_with_a_reason_and_start_nothing(system: RescueSystem) -> None:
    with pytest.raises(RejectedError, match="such as orders-cache") as unknown:
        await system.ask(RunChain(target="order-cache", failure_type=REDIS, by="alice"))
    with pytest.raises(RejectedError, match="kind redis and has no failures of type disk_full"):
        await system.ask(RunChain(target=CACHE_TARGET, failure_type=FailureType.DISK_FULL, by="alice"))
    with pytest.raises(RejectedError, match="there is no run 'nothing'"):
        await system.ask(ShowRun(run_id="nothing"))
    with pytest.raises(RejectedError, match="there is no run 'nothing'"):
        await system.ask(SteerRun(run_id="nothing", intervention=Intervention.ABORT, by="alice"))

    assert unknown.value.code is ErrorCode.NOT_FOUND
    assert await system.events(RunStarted) == []


async def test_a_failure_without_a_chain_calls_people_once(system: RescueSystem) -> None:
    failure = msgspec.convert(
        {
            "type": "FailureDetected",
            "target": CACHE_TARGET,
            "target_kind": "redis",
            "region": "local",
            "vantage": "other",
            "failure_type": "backup_stale",
            "incident_id": "incident-7",
            "first_failed_at": "2026-01-01T00:00:00Z",
            "failures": 3,
        },
        FailureDetected,
    )
    await system.messaging.publisher.publish(failure, event_id="first")
    await system.messaging.publisher.publish(failure, event_id="second")

    async def escalated() -> list[EscalatedToHuman]:
        return await system.events(EscalatedToHuman)

    called = await eventually(escalated, within=20, poll=0.1)

    assert called[0].failure == failure
    assert "no chain of actions is configured for backup_stale" in called[0].reason
    assert any("nats req" in line for line in called[0].next_steps)
    await system.ask(RunChain(target=CACHE_TARGET, failure_type=REDIS, by="alice"))
    await system.finished()
    assert len(await system.events(EscalatedToHuman)) == 1
    assert await system.maintenance() is None
