"""A failover that stops in the middle of its promotion: the route is opened again by itself where it is safe."""

from __future__ import annotations

import pytest
from yaoki.events.recovery import EscalatedToHuman, PrimaryPromoted
from yaoki.events.runs import Ending
from yaoki.flags import RouteState
from yaoki.testing import eventually

from .harness import DualWriter, RescueSystem

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]

OLD, NEW = "db1", "db2"
SOME_WRITES = 10
# Three attempts of the promotion are waited for before it is given up.
QUICK = {"chains": {"database_connection": [{"action": "switch-database", "timeout": "4s"}]}}


async def some_writes(writer: DualWriter, node: str) -> None:
    before = len(writer.on(node))
    await eventually(lambda: len(writer.on(node)) >= before + SOME_WRITES, within=30)


@pytest.mark.parametrize(
    ("fault", "returns", "serves"),
    [
        # Nobody was promoted: the candidate's agent stays away for good, and the old primary serves again.
        pytest.param("agent.promotion-accepted", OLD, OLD, marks=pytest.mark.chaos),
        # The candidate holds the lease: only it may go on, whether it had become the primary or not.
        ("agent.lease-taken", NEW, NEW),
        pytest.param("agent.promoted", NEW, NEW, marks=pytest.mark.chaos),
    ],
)
async def test_writes_are_possible_again_when_the_candidate_died_in_its_promotion(
    fault: str, returns: str, serves: str
) -> None:
    system = RescueSystem(recovery=QUICK, agent_faults={NEW: f"{fault}:kill"})
    async with system, DualWriter(system.nodes) as writer:
        await some_writes(writer, OLD)
        await system.processes.kill(f"agent-{OLD}")
        await system.nodes[0].kill()

        ended = await system.finished(within=120)
        route = await system.route()
        assert ended.ending is Ending.FAILED_NO_ROLLBACK, ended.reason
        assert route is not None
        assert route.state is RouteState.CUT
        assert not system.processes.running(f"agent-{NEW}")

        system.start_agent(returns)
        opened = await system.wait_primary(serves, within=90)

        assert opened.epoch > route.epoch
        assert (await system.lease()).holder == serves
        await some_writes(writer, serves)
        assert await writer.lost(system.nodes[0 if serves == OLD else 1]) == set()
        writer.assert_never_two_primaries(OLD, NEW)
        assert [one.member for one in await system.events(PrimaryPromoted)] == ([] if serves == OLD else [NEW])
        assert len(await system.events(EscalatedToHuman)) == 1
