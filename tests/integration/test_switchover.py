"""A planned switchover under load: nothing acknowledged is lost, and what cannot be finished is taken back."""

from __future__ import annotations

import pytest
from yaoki.commands.recovery import OrderAccepted, SwitchOver
from yaoki.errors import RejectedError
from yaoki.events.recovery import EscalatedToHuman, MemberRejoined, PrimaryPromoted
from yaoki.events.runs import Ending, RunFinished
from yaoki.testing import eventually

from .harness import DualWriter, RescueSystem
from .harness.configuration import CLUSTER

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]

OLD, NEW = "db1", "db2"
SOME_WRITES = 20
# A change of the primary may be followed by the next one at once.
AT_ONCE = {"guards": {"pause": "0s", "runs_per_hour": 1000, "soak": "0s"}}


async def some_writes(writer: DualWriter, node: str) -> None:
    """Return when writes on `node` are being acknowledged."""
    before = len(writer.on(node))
    await eventually(lambda: len(writer.on(node)) >= before + SOME_WRITES, within=30)


async def ending_of(system: RescueSystem, run_id: str) -> RunFinished:
    async def ended() -> list[RunFinished]:
        return [one for one in await system.events(RunFinished) if one.run_id == run_id]

    return (await eventually(ended, within=90, poll=0.1))[0]


async def ordered(system: RescueSystem, to: str) -> OrderAccepted:
    """Ordered as soon as it may be: `to` has to stream first."""

    async def order() -> OrderAccepted | None:
        try:
            accepted = await system.ask(SwitchOver(cluster=CLUSTER, to=to, by="alice"))
        except RejectedError as refused:
            refusals.append(refused.message)
            return None
        assert isinstance(accepted, OrderAccepted)
        return accepted

    refusals: list[str] = []
    found = await eventually(order, within=60, poll=0.1)
    assert found is not None, refusals
    return found


async def test_a_switchover_and_the_way_back_lose_no_acknowledged_write() -> None:
    """Asynchronous replication: what is not lost is not lost because the old primary waited for its standby."""
    system = RescueSystem(synchronous=False, recovery=AT_ONCE)
    async with system, DualWriter(system.nodes) as writer:
        for old, new in ((OLD, NEW), (NEW, OLD)):
            await some_writes(writer, old)
            before = await system.wait_primary(old)

            accepted = await ordered(system, new)
            after = await system.wait_primary(new)
            await some_writes(writer, new)
            ended = await ending_of(system, accepted.run_id)

            assert ended.ending is Ending.COMPLETED, ended.reason
            assert after.epoch > before.epoch
            assert (await system.lease()).holder == new
            assert await writer.lost(system.nodes[0 if new == OLD else 1]) == set()

        async def both_rejoined() -> list[MemberRejoined] | None:
            found = await system.events(MemberRejoined)
            return found if len(found) >= 2 else None

        rejoined = await eventually(both_rejoined, within=60, poll=0.1)
        assert rejoined is not None
        assert [(one.member, one.method) for one in rejoined] == [(OLD, "stream"), (NEW, "stream")]
        promoted = [(one.member, one.previous, one.lag_bytes) for one in await system.events(PrimaryPromoted)]
        assert promoted == [(NEW, OLD, 0), (OLD, NEW, 0)]
        assert await system.events(EscalatedToHuman) == []


@pytest.mark.chaos  # the simulation lets the successor die at every point
async def test_the_old_primary_serves_again_when_its_successor_dies_before_the_promotion() -> None:
    """Recovery dies behind the stop of the old primary, then the successor does; the next recovery takes it back."""
    system = RescueSystem(recovery=AT_ONCE, fault="recovery.old-primary-stopped:kill")
    async with system, DualWriter(system.nodes) as writer:
        await some_writes(writer, OLD)
        before = await system.wait_primary(OLD)
        accepted = await ordered(system, NEW)
        await eventually(lambda: not system.processes.running("recovery-1"), within=30)
        assert not system.nodes[0].running
        await system.processes.kill(f"agent-{NEW}")
        await system.nodes[1].kill()
        system.start_recovery("recovery-2")

        ended = await ending_of(system, accepted.run_id)

        assert ended.ending is Ending.ROLLED_BACK, ended.reason
        route = await system.wait_primary(OLD)
        assert route.epoch > before.epoch
        assert (await system.lease()).holder == OLD
        system.start_agent(NEW)  # commits wait for a standby
        await some_writes(writer, OLD)
        assert await writer.lost(system.nodes[0]) == set()
        assert writer.on(NEW) == []
        assert await system.events(PrimaryPromoted) == []
