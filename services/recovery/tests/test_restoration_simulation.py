"""A failover that fails half-way: the route is opened again as soon as it is safe, and by nobody while it is not."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import pytest
from yaoki.events.runs import Ending
from yaoki.flags import RouteState
from yaoki.testing.simulation import Crash, CrashPoint, run_virtually

from .stage import RUN, Stage, crashed, lonely, rescue

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from yaoki.runs import RunState

    from .world import Server, World

STAGES = ("asked", "claimed", "promoted")
BACK_AFTER_S = 20.0
PATIENCE_S = 120.0
MOST_POINTS = 200


async def comes_back(server: Server, *, after_s: float, stage: Stage) -> None:
    """Its host is started again."""
    await stage.clock.sleep(after_s)
    server.agent_alive, server.unreachable, server.broken, server.renounced = True, False, False, 0


def half_way(*, old_returns: bool, new_returns: bool, found: dict[str, object]) -> Callable[[Stage], Awaitable[None]]:
    """What happens after the run has failed; who serves at the end is left in `found`."""

    async def afterwards(stage: Stage) -> None:
        route = await stage.route()
        found["cut"] = route.state is RouteState.CUT
        if old_returns:
            await comes_back(stage.world.servers["pg-a"], after_s=BACK_AFTER_S, stage=stage)
        if new_returns:
            await comes_back(stage.world.servers["pg-b"], after_s=BACK_AFTER_S, stage=stage)
        until = stage.clock.monotonic() + PATIENCE_S
        while (await stage.route()).state is RouteState.CUT and stage.clock.monotonic() < until:
            await stage.clock.sleep(1.0)
        route = await stage.route()
        found["serves"] = route.primary.member if route.primary and route.state is RouteState.SERVING else ""

    return afterwards


async def fail_half_way(
    dies_at: str, damage: Callable[[World], None], *, old_returns: bool, new_returns: bool, crash: Crash | None = None
) -> tuple[Stage, RunState, dict[str, object], bool]:
    stage = Stage()
    stage.world.servers["pg-b"].dies_at = dies_at
    found: dict[str, object] = {}
    run, died = await rescue(
        stage, damage, crash, afterwards=half_way(old_returns=old_returns, new_returns=new_returns, found=found)
    )
    return stage, run, found, died


def expected(dies_at: str, *, old_returns: bool, new_returns: bool) -> str:
    """Until the candidate has claimed the lease the old primary has everything; from then on only the candidate may."""
    if dies_at == "asked":
        return "pg-a" if old_returns else "pg-b" if new_returns else ""
    return "pg-b" if new_returns else ""


@pytest.mark.parametrize(("dies_at", "old_returns", "new_returns"), list(product(STAGES, (False, True), (False, True))))
def test_writes_are_possible_again_where_it_is_safe(dies_at: str, *, old_returns: bool, new_returns: bool) -> None:
    """The candidate's agent dies at each stage of the promotion, for good or for a while; so does the old one."""
    stage, run, found, _ = run_virtually(
        fail_half_way(dies_at, lonely, old_returns=old_returns, new_returns=new_returns)
    )

    assert run.ending is Ending.FAILED_NO_ROLLBACK, (run.ending, run.reason)
    assert found["cut"]
    assert found["serves"] == expected(dies_at, old_returns=old_returns, new_returns=new_returns)
    writable = [server.member for server in stage.world.servers.values() if server.writable]
    assert writable == ([found["serves"]] if found["serves"] else [])
    assert len(stage.escalations()) == 1, "people are called once, whatever is repaired later"
    if found["serves"] == "pg-b":
        assert [(event.member, event.previous) for event in stage.promotions()] == [("pg-b", "pg-a")]
        assert stage.world.servers["pg-b"].promotions == 1


@pytest.mark.parametrize(
    ("dies_at", "point"),
    [
        *((dies_at, CrashPoint.COMMAND_SENT) for dies_at in STAGES),
        ("claimed", CrashPoint.APPEND_LOST),
        pytest.param("claimed", CrashPoint.APPEND_ACKED, marks=pytest.mark.chaos),
    ],
)
def test_recovery_may_be_killed_at_every_point_of_both_runs(dies_at: str, point: CrashPoint) -> None:
    index, died = 0, True
    while died:
        index += 1
        assert index < MOST_POINTS, "the runs reach ever more points"
        stage, _, found, died = run_virtually(
            fail_half_way(dies_at, crashed, old_returns=True, new_returns=True, crash=Crash(point, index))
        )
        assert found["serves"], f"killed at {point} {index}: nobody serves; {stage.world.effects}"
        assert [server.member for server in stage.world.servers.values() if server.writable] == [found["serves"]]
    assert index > 3, f"only {index} points were tried; do the runs still pass them?"


def test_what_somebody_else_has_cut_stays_cut() -> None:
    """A person, or a plan for disasters, has a reason that recovery does not know. Its own cut it opens again."""

    async def scene() -> list[RouteState]:
        stage = Stage()
        seen: list[RouteState] = []

        async def cut(stage: Stage) -> None:
            for by in ("nina", RUN):
                route = await stage.route()
                await stage.flags.cut_route("orders", epoch=route.epoch, by=by, reason="looking for the cause")
                await stage.clock.sleep(PATIENCE_S)
                seen.append((await stage.route()).state)

        await rescue(stage, crashed, afterwards=cut)
        return seen

    assert run_virtually(scene()) == [RouteState.CUT, RouteState.SERVING]


def test_attempts_that_fail_grow_rare() -> None:
    """The holder answers, accepts and is promoted, and never commits: each attempt is a run, and waits longer."""

    async def scene() -> list[str]:
        stage = Stage()
        stage.world.servers["pg-b"].read_only = True

        async def wait(stage: Stage) -> None:
            await stage.clock.sleep(600.0)

        await rescue(stage, crashed, afterwards=wait)
        return [effect for effect in stage.world.effects if effect == "postgres.promote pg-b"]

    attempts = run_virtually(scene())

    assert 3 < len(attempts) < 12, attempts
