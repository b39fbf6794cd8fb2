"""Real processes on real NATS: killed, raced, cut off in the middle; every effect happens once all the same."""

from __future__ import annotations

import asyncio
import functools
import random
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import msgspec
import pytest
import pytest_asyncio
from yaoki.events.runs import Ending, LeaseTaken
from yaoki.messaging import Messaging, NatsSettings
from yaoki.plans import Phase
from yaoki.provision import provision
from yaoki.runs import ActionFailedError, ActionResult, NatsJournal, OrderTable, serve_orders
from yaoki.testing import eventually, patient
from yaoki_devstack.nats import NatsServer
from yaoki_devstack.process import spawn

from .executors import on_nats
from .nats_fixtures import messaging, server
from .plans import call, one, start, step

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from yaoki.plans import Order, Plan
    from yaoki.runs import DurableWorker, StartRun

__all__ = ["messaging", "server"]

pytestmark = pytest.mark.real

PROGRAM = Path(__file__).with_name("recovery_process.py")
SAGA = one(*(step(name, worker="agent-a") for name in ("a", "b", "c", "d")), verify=call("agent-a"))
ENTRIES = 2 + 2 * (4 + 3)  # start, lease; four orders of which the last fails, three compensations
SEEDED = random.Random(20261121).sample(range(1, ENTRIES), 5)  # noqa: S311 - the same places in every build


class Agent:
    """The worker `agent-a` in this process, over NATS; `d` fails. Effects are what it has done."""

    def __init__(self) -> None:
        self.effects: list[tuple[str, str]] = []
        self.commands: Counter[str] = Counter()
        self.worker: DurableWorker | None = None

    async def act(self, order: Order) -> ActionResult:
        if order.phase is not Phase.VERIFY:
            self.effects.append((order.step, order.phase.value))
            self.commands[order.command_id] += 1
        if order.step == "d" and order.phase is Phase.DO:
            raise ActionFailedError("d fails")
        return ActionResult(result={"step": order.step})

    def has_done(self, count: int) -> bool:
        """Whether it has got so far."""
        return len(self.effects) >= count

    async def serve(self, connected: Messaging, name: str = "agent-a") -> None:
        table = OrderTable(connected.kv("commands"), name, f"{name}-1")
        self.worker = serve_orders(connected, table, {"act": self.act})
        await connected.start()


@pytest_asyncio.fixture
async def agent(messaging: Messaging) -> AsyncIterator[Agent]:
    served = Agent()
    await served.serve(messaging)
    yield served
    if served.worker is not None:
        await served.worker.stop()


def new_run(plan: Plan) -> StartRun:
    name = f"run-{uuid4().hex[:12]}"
    return msgspec.structs.replace(start(plan), run_id=name, resource=name)


def forward_and_back(agent: Agent) -> None:
    """What the saga has to have done, each once and in this order."""
    assert agent.effects == [
        *((name, "do") for name in "abcd"),
        *((name, "undo") for name in "dcba"),
    ]
    assert set(agent.commands.values()) == {1}


@pytest.mark.parametrize(
    "fault",
    [*(f"runs.appended:kill:{index}" for index in SEEDED), "runs.sending:kill:2", "runs.sending:kill:6"],
)
async def test_an_executor_that_is_killed_is_replaced_and_nothing_happens_twice(
    fault: str, server: NatsServer, messaging: Messaging, agent: Agent, tmp_path: Path
) -> None:
    begin = new_run(SAGA)
    plan_file = tmp_path / "run.json"
    plan_file.write_bytes(msgspec.json.encode(begin))
    survivor = on_nats(messaging, {}, "recovery-survivor")
    process = spawn(
        [sys.executable, PROGRAM, server.url, server.monitor_url, plan_file],
        cwd=tmp_path,
        log_file=tmp_path / "recovery.log",
        environment={"YAOKI_FAULT": fault},
    )
    await eventually(lambda: process.poll() is not None, within=20.0)
    assert process.returncode == -9, (tmp_path / "recovery.log").read_text()
    before = await _journal(messaging).load("recovery", begin.run_id)

    supervising = asyncio.create_task(survivor.supervise())
    async with asyncio.timeout(patient(30)):
        await eventually(lambda: _led_by(messaging, begin.run_id, "recovery-survivor"), within=10.0)
        state = await survivor.finished(begin.run_id)

    assert state.ending is Ending.ROLLED_BACK
    forward_and_back(agent)
    after = await _journal(messaging).load("recovery", begin.run_id)
    assert after[: len(before)] == before
    supervising.cancel()
    await survivor.stop()


def _journal(connected: Messaging) -> NatsJournal:
    return NatsJournal(connected.client, connected.subjects, source="/test")


async def _led_by(connected: Messaging, run_id: str, instance: str) -> bool:
    entries = await _journal(connected).load("recovery", run_id)
    return any(isinstance(entry.event, LeaseTaken) and entry.event.instance == instance for entry in entries)


async def test_two_executors_at_once_do_everything_once(messaging: Messaging, agent: Agent) -> None:
    both = [on_nats(messaging, {}, f"recovery-{number}") for number in (1, 2)]
    begin = new_run(SAGA)
    supervising = [asyncio.create_task(executor.supervise()) for executor in both]

    await asyncio.gather(*(executor.start(begin) for executor in both))
    async with asyncio.timeout(patient(20)):
        states = await asyncio.gather(*(executor.finished(begin.run_id) for executor in both))

    assert {state.ending for state in states} == {Ending.ROLLED_BACK}
    forward_and_back(agent)
    for task in supervising:
        task.cancel()
    await asyncio.gather(*(executor.stop() for executor in both))


async def test_a_nats_that_is_restarted_in_mid_append_loses_and_doubles_nothing() -> None:
    """Killed again and again while a run of many steps is written."""
    plan = one(*(step(f"s{number}", worker="agent-b") for number in range(40)))
    async with NatsServer() as own:
        settings = NatsSettings(servers=(own.url,), monitoring_url=own.monitor_url)
        await provision(settings)
        async with Messaging.connect(settings, service="recovery", instance="recovery-1") as connected:
            agent = Agent()
            await agent.serve(connected, "agent-b")
            executor, begin = on_nats(connected, {}), new_run(plan)
            await executor.start(begin)
            for reached in (3, 12, 25):
                await eventually(functools.partial(agent.has_done, reached), within=20.0)
                await own.kill()
                await own.start()
            async with asyncio.timeout(patient(40)):
                state = await executor.finished(begin.run_id)

            assert state.ending is Ending.COMPLETED
            assert agent.effects == [(f"s{number}", "do") for number in range(40)]
            await executor.stop()
            if agent.worker is not None:
                await agent.worker.stop()
