"""A planned switchover, with recovery killed at every single point: it is finished or taken back, never both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from recovery.failover import local
from recovery.switchover import Successor, switchover_plan
from yaoki.events.runs import Ending
from yaoki.flags import RouteState
from yaoki.runs import StartRun
from yaoki.testing.simulation import Crash, CrashPoint, run_virtually

from .builders import config
from .stage import RUN, Stage, nothing, rescue

if TYPE_CHECKING:
    from yaoki.runs import RunState

MOST_POINTS = 150


def ordered() -> StartRun:
    """What a person's order starts."""
    successor = Successor(member="pg-b", previous="pg-a", lag_bytes=0, followers=())
    settings = config().postgres_clusters["orders"]
    verify = local("check-target", target="orders-db")
    plan = switchover_plan("orders", settings, successor, verify=verify)
    return StartRun(
        run_kind="recovery", run_id=RUN, resource="orders", plan=plan, started_by="alice", facts={"target": "orders-db"}
    )


async def switch(*, successor_dies: bool = False, crash: Crash | None = None) -> tuple[Stage, RunState, bool]:
    """Switch from pg-a to pg-b, whose host may die when pg-a has stopped."""
    stage = Stage()
    stage.cause = ordered
    stage.world.streaming = True

    def dies() -> None:
        server = stage.world.servers["pg-b"]
        server.stop()
        server.agent_alive = False

    if successor_dies:
        stage.world.on_demoted = dies
    run, died = await rescue(stage, nothing, crash, afterwards=served_again)
    return stage, run, died


async def served_again(stage: Stage) -> None:
    """A run that was taken back leaves the rest of the way to the restorer, where it has to."""
    while (await stage.route()).state is RouteState.CUT:
        await stage.clock.sleep(1.0)


async def primary_of(stage: Stage) -> str:
    route = await stage.route()
    return route.primary.member if route.primary and route.state is RouteState.SERVING else ""


def assert_serves(stage: Stage, member: str) -> None:
    assert [one.member for one in stage.world.servers.values() if one.writable] == [member]


def test_the_successor_serves_and_the_old_primary_was_stopped_first() -> None:
    stage, run, _ = run_virtually(switch())

    assert run.ending is Ending.COMPLETED, run.reason
    assert_serves(stage, "pg-b")
    assert [(one.member, one.previous, one.lag_bytes) for one in stage.promotions()] == [("pg-b", "pg-a", 0)]
    effects = stage.world.effects
    assert effects.index("postgres.demote pg-a") < effects.index("postgres.promote pg-b")


@pytest.mark.parametrize("successor_dies", [False, True])
@pytest.mark.parametrize("point", list(CrashPoint))
def test_killed_at_every_point_another_instance_finishes_or_takes_it_back(
    point: CrashPoint, *, successor_dies: bool
) -> None:
    index = 0
    died = True
    while died:
        index += 1
        assert index < MOST_POINTS, "the run reaches ever more points"
        stage, run, died = run_virtually(switch(successor_dies=successor_dies, crash=Crash(point, index)))
        expected = Ending.ROLLED_BACK if successor_dies else Ending.COMPLETED
        assert run.ending is expected, (index, run.ending, run.reason)
        assert_serves(stage, "pg-a" if successor_dies else "pg-b")
        assert len(stage.promotions()) == (0 if successor_dies else 1)
    assert index > 3, f"only {index} points were tried; does the run still pass them?"


def test_a_successor_that_lacks_the_last_record_is_not_promoted() -> None:
    """It is level while clients are served, and falls behind by what is written until they are held."""

    async def scene() -> tuple[Stage, RunState, str]:
        stage = Stage()
        stage.cause = ordered
        stage.world.streaming = True

        def writes() -> None:
            stage.world.servers["pg-a"].position += 100

        stage.world.on_demoted = writes
        run, _ = await rescue(stage, nothing, afterwards=served_again)
        return stage, run, await primary_of(stage)

    stage, run, primary = run_virtually(scene())

    assert run.ending is Ending.ROLLED_BACK, run.reason
    assert primary == "pg-a"
    assert_serves(stage, "pg-a")
    assert stage.world.servers["pg-b"].promotions == 0
