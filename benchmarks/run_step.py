"""What a durable step costs: intent and outcome, both acknowledged by a NATS that syncs every write.

    python benchmarks/run_step.py [--rounds 5] [--steps 200]

A run of steps whose action does nothing, in this process, on the whole executor: decisions, journal, lease renewals.
A step is measured from one action to the next. Beside it, in turns on the same connection and stream, bare JetStream
publishes of the size of an intent. Prints one JSON object a line.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import time
from typing import TYPE_CHECKING
from uuid import uuid4

import uvloop
from _figures import figure
from yaoki.clock import SystemClock, Uuid7Source
from yaoki.messaging import Messaging, NatsSettings
from yaoki.plans import Branch, Call, Plan, Step
from yaoki.provision import provision
from yaoki.runs import (
    ActionResult,
    LocalWorker,
    NatsJournal,
    RunExecutor,
    RunLeases,
    RunRegistry,
    StartRun,
    Workers,
)
from yaoki_devstack.nats import NatsServer

if TYPE_CHECKING:
    from yaoki.plans import Order

RATIO_LIMIT = 3.0
INTENT_BYTES = 1100
"""With its headers, as it goes over the wire."""
WARM_UP = 20


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description="Overhead of a durable step.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=200)
    arguments = parser.parse_args()
    steps, publishes = uvloop.run(_measure(arguments.rounds, arguments.steps))
    step, publish = statistics.median(steps), statistics.median(publishes)
    figure("run-step", "step_p50_ms", step * 1000, peer="bare JetStream publish")
    figure("run-step", "step_p99_ms", statistics.quantiles(steps, n=100)[98] * 1000)
    figure("run-step", "publish_p50_ms", publish * 1000)
    figure("run-step", "p50_ratio", step / publish, at_most=RATIO_LIMIT, peer="bare JetStream publish")


async def _measure(rounds: int, count: int) -> tuple[list[float], list[float]]:
    steps: list[float] = []
    publishes: list[float] = []
    async with NatsServer() as server:
        settings = NatsSettings(servers=(server.url,), monitoring_url=server.monitor_url)
        await provision(settings)
        async with Messaging.connect(settings, service="recovery", instance="bench-1") as messaging:
            for _ in range(rounds):
                publishes += (await _publishes(messaging, count))[WARM_UP:]
                steps += (await _steps(messaging, count))[WARM_UP:]
    return steps, publishes


async def _publishes(messaging: Messaging, count: int) -> list[float]:
    js = messaging.client.jetstream()
    subject = f"{messaging.subjects.prefix}.evt.bench.{uuid4().hex}.published"
    body = b"x" * INTENT_BYTES
    taken = []
    for _ in range(count):
        began = time.perf_counter()
        await js.publish(subject, body)
        taken.append(time.perf_counter() - began)
    return taken


async def _steps(messaging: Messaging, count: int) -> list[float]:
    at: list[float] = []

    async def nothing(order: Order) -> ActionResult:
        at.append(time.perf_counter())
        return ActionResult(result={"step": order.step})

    executor = RunExecutor(
        run_kind="recovery",
        instance="bench-1",
        journal=NatsJournal(messaging.client, messaging.subjects, source="/bench/bench-1"),
        workers=Workers({"local": LocalWorker({"nothing": nothing})}),
        registry=RunRegistry(messaging.kv("runs")),
        leases=RunLeases(messaging.kv("leases")),
        clock=SystemClock(),
        ids=Uuid7Source(),
    )
    do = Call(worker="local", action="nothing", params={"target": "orders-db"})
    plan = Plan(
        name="bench", branches=(Branch(name="only", steps=tuple(Step(id=f"s{n}", do=do) for n in range(count + 1))),)
    )
    run = StartRun(run_kind="recovery", run_id=f"bench-{uuid4().hex}", resource="bench", plan=plan)
    async with asyncio.timeout(120):
        await executor.finished(await executor.start(run))
    await executor.stop()
    return [later - earlier for earlier, later in itertools.pairwise(at)]


if __name__ == "__main__":
    main()
