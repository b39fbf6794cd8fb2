"""Recovery itself is killed, doubled, or loses NATS in the middle of a failover."""

from __future__ import annotations

import random
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from yaoki.events.recovery import PrimaryPromoted
from yaoki.events.runs import Ending, LeaseTaken, RunFinished, RunStarted, StepFinished, StepStarted
from yaoki.plans import OutcomeStatus
from yaoki.testing import eventually

from .harness import DualWriter, RescueSystem

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]

OLD, NEW = "db1", "db2"
OUTAGE_S = 20.0
SEED = 20261121
# A run of the default chain appends about 34 entries until the route is published.
_random = random.Random(SEED)  # noqa: S311 - chooses where to kill; the same every time
KILLS = (
    *(f"runs.appended:kill:{index}" for index in sorted(_random.sample(range(2, 32), 4))),
    *(f"runs.sending:kill:{index}" for index in sorted(_random.sample(range(1, 15), 2))),
)


async def some_writes(writer: DualWriter, node: str) -> None:
    before = len(writer.on(node))
    await eventually(lambda: len(writer.on(node)) >= before + 10, within=20)


def assert_each_effect_once(finished: Sequence[StepFinished]) -> None:
    """Every command has one outcome, and every step that worked has worked once."""
    assert max(Counter(one.command_id for one in finished).values()) == 1
    worked = [one for one in finished if one.status is OutcomeStatus.SUCCEEDED]
    assert max(Counter((one.branch, one.step, one.phase) for one in worked).values()) == 1


# Every second one in each test run, the others in `make chaos`; the simulation kills at every entry.
@pytest.mark.parametrize("fault", [*KILLS[::2], *(pytest.param(one, marks=pytest.mark.chaos) for one in KILLS[1::2])])
async def test_recovery_killed_at_a_journal_entry_is_carried_on_by_another(fault: str) -> None:
    async with RescueSystem(fault=fault) as system, DualWriter(system.nodes) as writer:
        await some_writes(writer, OLD)

        await system.nodes[0].kill()
        await eventually(lambda: not system.processes.running("recovery-1"), within=60)
        system.start_recovery("recovery-2")
        await system.wait_primary(NEW, within=60)
        ended = await system.finished()

        assert ended.ending is Ending.COMPLETED, ended.reason
        assert {one.instance for one in await system.events(LeaseTaken)} == {"recovery-1", "recovery-2"}
        assert_each_effect_once(await system.events(StepFinished))
        assert len(await system.events(PrimaryPromoted)) == 1
        assert await writer.lost(system.nodes[1]) == set()
        writer.assert_never_two_primaries(OLD, NEW)


async def test_two_instances_make_one_recovery() -> None:
    async with RescueSystem(recoveries=2) as system, DualWriter(system.nodes) as writer:
        await some_writes(writer, OLD)

        await system.nodes[0].kill()
        await system.wait_primary(NEW)
        ended = await system.finished()

        assert ended.ending is Ending.COMPLETED, ended.reason
        assert len(await system.events(RunStarted)) == 1
        assert_each_effect_once(await system.events(StepFinished))
        assert await writer.lost(system.nodes[1]) == set()
        writer.assert_never_two_primaries(OLD, NEW)


async def test_nats_gone_for_twenty_seconds_in_the_middle_delays_and_breaks_nothing() -> None:
    async with RescueSystem() as system, DualWriter(system.nodes) as writer:
        await some_writes(writer, OLD)
        await system.nodes[0].kill()

        async def in_the_middle() -> bool:
            return any(one.step == "revoke-lease" for one in await system.events(StepStarted))

        await eventually(in_the_middle, within=30, poll=0.02)
        await system.nats.kill()
        back_at = time.monotonic() + OUTAGE_S
        await eventually(lambda: time.monotonic() >= back_at, within=OUTAGE_S + 5)
        await system.nats.start()
        await system.wait_primary(NEW, within=60)
        ended = await system.finished()

        assert ended.ending is Ending.COMPLETED, ended.reason
        assert len(await system.events(RunStarted)) == len(await system.events(RunFinished)) == 1
        assert_each_effect_once(await system.events(StepFinished))
        assert await writer.lost(system.nodes[1]) == set()
        writer.assert_never_two_primaries(OLD, NEW)


async def test_sigterm_hands_the_run_over() -> None:
    async with RescueSystem(recoveries=2) as system, DualWriter(system.nodes) as writer:
        await some_writes(writer, OLD)
        await system.nodes[0].kill()

        async def leader() -> str:
            taken = await system.events(LeaseTaken)
            return taken[-1].instance if taken else ""

        first = await eventually(leader, within=30, poll=0.02)
        status = await system.processes.stop(first)
        await system.wait_primary(NEW)
        ended = await system.finished()

        assert status == 0, system.processes.tail(first)
        assert ended.ending is Ending.COMPLETED, ended.reason
        assert_each_effect_once(await system.events(StepFinished))
        writer.assert_never_two_primaries(OLD, NEW)
