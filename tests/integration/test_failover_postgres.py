"""A PostgreSQL primary is lost in every way that there is; at no moment are there two."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from yaoki.events.recovery import EscalatedToHuman, MemberRejoined, PrimaryPromoted
from yaoki.events.runs import Ending
from yaoki.flags import RouteState
from yaoki.testing import eventually
from yaoki_devstack.errors import CommandFailedError

from .harness import DualWriter, RescueSystem

if TYPE_CHECKING:
    from yaoki.flags import Route

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]

OLD, NEW = "db1", "db2"
SOME_WRITES = 20


async def some_writes(writer: DualWriter, node: str) -> None:
    """Return when writes on `node` are being acknowledged."""
    before = len(writer.on(node))
    await eventually(lambda: len(writer.on(node)) >= before + SOME_WRITES, within=20)


async def route_of(system: RescueSystem) -> Route:
    route = await system.route()
    assert route is not None
    return route


async def test_a_killed_primary_is_replaced_without_losing_an_acknowledged_write() -> None:
    async with RescueSystem() as system, DualWriter(system.nodes) as writer:
        await some_writes(writer, OLD)
        before = await route_of(system)

        await system.nodes[0].kill()
        after = await system.wait_primary(NEW)
        await some_writes(writer, NEW)
        ended = await system.finished()

        assert ended.ending is Ending.COMPLETED, ended.reason
        assert after.epoch > before.epoch
        assert (await system.lease()).holder == NEW
        assert [(one.member, one.previous) for one in await system.events(PrimaryPromoted)] == [(NEW, OLD)]
        assert await system.maintenance() is None
        assert await system.events(EscalatedToHuman) == []
        assert await writer.lost(system.nodes[1]) == set()
        writer.assert_never_two_primaries(OLD, NEW)


async def test_the_old_primary_returns_as_a_standby() -> None:
    async with RescueSystem() as system, DualWriter(system.nodes) as writer:
        await some_writes(writer, OLD)
        await system.nodes[0].kill()
        await system.wait_primary(NEW)

        async def rejoined() -> list[MemberRejoined]:
            return [one for one in await system.events(MemberRejoined) if one.member == OLD]

        await eventually(rejoined, within=60, poll=0.2)

        async def streams() -> bool:
            query = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
            return (await system.nodes[1].psql(query)).strip() == "1"

        await eventually(streams, within=30, poll=0.2)

        async def is_standby() -> bool:
            with suppress(CommandFailedError):  # it streams a moment before it takes sessions
                return (await system.nodes[0].psql("SELECT pg_is_in_recovery()")).strip() == "t"
            return False

        await eventually(is_standby, within=30, poll=0.2)
        writer.assert_never_two_primaries(OLD, NEW)


async def test_a_paused_primary_is_fenced_and_accepts_nothing_when_it_wakes() -> None:
    async with RescueSystem() as system, DualWriter(system.nodes) as writer:
        await some_writes(writer, OLD)

        await system.nodes[0].pause()
        await system.wait_primary(NEW)
        await system.nodes[0].resume()
        await some_writes(writer, NEW)
        await system.finished()

        assert await writer.lost(system.nodes[1]) == set()
        writer.assert_never_two_primaries(OLD, NEW)


async def test_an_agent_that_dies_takes_its_primary_along_before_another_is_promoted() -> None:
    async with RescueSystem() as system, DualWriter(system.nodes) as writer:
        await some_writes(writer, OLD)

        await system.processes.kill(f"agent-{OLD}")
        await system.wait_primary(NEW, within=60)
        await some_writes(writer, NEW)

        assert not system.nodes[0].running
        assert await writer.lost(system.nodes[1]) == set()
        writer.assert_never_two_primaries(OLD, NEW)


async def test_a_standby_that_lags_over_the_limit_is_not_promoted() -> None:
    limits = {"max_lag_bytes": "64KiB"}
    async with RescueSystem(synchronous=False, cluster=limits) as system, DualWriter(system.nodes) as writer:
        await some_writes(writer, OLD)
        await system.processes.kill(f"agent-{NEW}")
        await system.nodes[1].kill()
        position = (await system.lease()).position
        await system.nodes[0].psql("CREATE TABLE big AS SELECT repeat('x', 1000) FROM generate_series(1, 2000)")

        async def reported() -> bool:
            return (await system.lease()).position > position + 1_000_000

        await eventually(reported, within=20, poll=0.1)
        # Recovery comes when there is a candidate to judge, and not while its agent is still starting.
        await system.processes.stop("recovery-1")
        await system.processes.kill(f"agent-{OLD}")
        await system.nodes[0].kill()
        system.start_agent(NEW)
        await system.nodes[1].wait_ready(within=30)
        system.start_recovery("recovery-1")

        async def escalated() -> list[EscalatedToHuman]:
            return await system.events(EscalatedToHuman)

        called = (await eventually(escalated, within=90, poll=0.2))[0]

        assert any("bytes of WAL, the limit is 65536" in step.error for step in called.attempts), called.attempts
        assert called.maintenance
        switch = await system.maintenance()
        assert switch is not None
        assert switch.on
        assert await system.events(PrimaryPromoted) == []
        assert (await route_of(system)).state is RouteState.CUT
        assert (await system.nodes[1].psql("SELECT pg_is_in_recovery()")).strip() == "t"


async def test_the_old_primary_serves_again_when_nobody_else_may() -> None:
    limits = {"max_lag_bytes": "64KiB"}
    async with RescueSystem(synchronous=False, cluster=limits) as system, DualWriter(system.nodes) as writer:
        await some_writes(writer, OLD)
        await system.processes.kill(f"agent-{NEW}")
        await system.nodes[1].kill()
        before = await route_of(system)

        await system.nodes[0].kill()

        async def reinstated() -> bool:
            route = await route_of(system)
            return route.state is RouteState.SERVING and route.epoch > before.epoch

        await eventually(reinstated, within=90, poll=0.2)
        await some_writes(writer, OLD)
        await system.finished()

        async def maintenance_is_over() -> bool:
            switch = await system.maintenance()
            return switch is None or not switch.on

        await eventually(maintenance_is_over, within=30, poll=0.2)
        assert await system.events(PrimaryPromoted) == []
        assert await writer.lost(system.nodes[0]) == set()


async def test_a_host_that_is_cut_off_without_a_word_stops_before_another_is_promoted() -> None:
    """Packets vanish, nothing is reset; somebody on the host itself goes on writing as long as he can."""
    async with (
        RescueSystem(synchronous=False, isolated=True) as system,
        DualWriter(system.nodes) as writer,
    ):
        await some_writes(writer, OLD)
        assert system.isolation is not None

        system.isolation.cut_off()
        before = len(writer.on(OLD))
        # One is enough: how many more there are until its lease is over depends on the machine.
        await eventually(lambda: len(writer.on(OLD)) > before, within=20)
        await system.wait_primary(NEW, within=90)
        await some_writes(writer, NEW)

        assert not system.nodes[0].running
        writer.assert_never_two_primaries(OLD, NEW)
