"""A whole failover, with recovery killed at every single point; another instance finishes, and never two primaries.

Exhaustive: the point moves forward until a run no longer reaches it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from recovery.fencing import Fence
from yaoki.epoch import Epoch
from yaoki.events.runs import Ending
from yaoki.testing.simulation import Crash, CrashPoint, run_virtually

from .builders import order
from .stage import ALL_DAMAGE, RUN, Stage, crashed, cut_off, rescue
from .world import TwoPrimariesError, World

if TYPE_CHECKING:
    from collections.abc import Callable

    from yaoki.leases import ClusterLease
    from yaoki.runs import RunState

MOST_POINTS = 120


def assert_rescued(stage: Stage, run: RunState) -> None:
    assert run.ending is Ending.COMPLETED, (run.ending, run.reason)
    assert stage.world.servers["pg-b"].writable
    assert not stage.world.servers["pg-a"].writable
    assert stage.world.servers["pg-b"].promotions == 1
    assert [event.member for event in stage.promotions()] == ["pg-b"]
    assert stage.escalations() == []


async def rescue_with(damage: Callable[[World], None], crash: Crash | None = None) -> tuple[Stage, RunState, bool]:
    stage = Stage(ttl_s=12.0 if damage is cut_off else 3.0)
    return (stage, *await rescue(stage, damage, crash))


@pytest.mark.parametrize("damage", ALL_DAMAGE)
def test_a_lost_primary_is_replaced(damage: Callable[[World], None]) -> None:
    stage, run, died = run_virtually(rescue_with(damage))

    assert not died
    assert_rescued(stage, run)
    assert Counter(stage.world.effects)["postgres.promote pg-b"] == 1


@pytest.mark.parametrize("damage", ALL_DAMAGE)
@pytest.mark.parametrize("point", list(CrashPoint))
def test_killed_at_every_point_another_instance_finishes(damage: Callable[[World], None], point: CrashPoint) -> None:
    index = 0
    died = True
    while died:
        index += 1
        assert index < MOST_POINTS, "the run reaches ever more points"
        stage, run, died = run_virtually(rescue_with(damage, Crash(point, index)))
        assert_rescued(stage, run)
    assert index > 3, f"only {index} points were tried; does the run still pass them?"


def test_a_standby_over_the_limit_ends_in_maintenance_and_a_call_and_the_old_primary_is_reinstated() -> None:
    async def scene() -> tuple[Stage, RunState, ClusterLease]:
        stage = Stage(standby_position=-5_000_000)
        stage.world.servers["pg-a"].broken = True
        run, _ = await rescue(stage, crashed)
        return stage, run, (await stage.world.record())[0]

    stage, run, reinstated = run_virtually(scene())

    assert run.ending is Ending.EXHAUSTED, run.reason
    assert stage.promotions() == []
    assert stage.world.servers["pg-b"].promotions == 0
    assert reinstated.holder == "pg-a"
    assert not reinstated.revoked_by
    called = stage.escalations()
    assert len(called) == 1
    assert called[0].maintenance
    assert any("bytes of WAL" in step.error for step in called[0].attempts)


def test_the_model_notices_two_primaries() -> None:
    """The checker itself is checked: promoting without the proof must not go unnoticed."""

    async def scene() -> None:
        stage = Stage()
        await stage.prepare()
        stage.world.servers["pg-a"].agent_alive = False
        await Fence(stage.world.clusters, stage.clock).revoke("orders", RUN, Epoch(1, 9))
        worker = stage.workers["agent-pg-b"]
        await worker.perform(order("postgres.promote", epoch=Epoch(1, 9)))

    with pytest.raises(TwoPrimariesError, match="writable at the same time"):
        run_virtually(scene())
