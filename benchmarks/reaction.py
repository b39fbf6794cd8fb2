"""From a failure's acknowledgement by NATS to the start of the first action, on the real recovery service.

    python benchmarks/reaction.py [--rounds 300]

One failure after the other, each when the service has come to rest, of targets in turn. The first action is the fresh
probe with which every run begins; the first repair is the order to the host's agent that follows when the probe finds
the target broken. Both are taken when they arrive here, where the prober and the agent are played, on the clock by
which the acknowledgement was taken. Beside it, in turns, bare JetStream publishes with `sync_interval: always`. Prints
one JSON object a line.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from typing import TYPE_CHECKING
from uuid import uuid4

import uvloop
from _figures import figure
from _recovery import Scene, names, scene
from yaoki.commands.recovery import ListRuns, RunList
from yaoki.testing import eventually

if TYPE_CHECKING:
    from yaoki.plans import Order

LIMIT_MS = 10.0
TARGETS = 20
WARM_UP = 20
END_S = 30.0
BODY = b"x" * 600


class Reaction:
    """When each stage of one failure's run was seen, by `time.perf_counter`."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.probed: float | None = None
        self.ordered: float | None = None
        self.repaired = asyncio.Event()

    def on_check(self, target: str) -> None:
        """A fresh probe is asked for."""
        if target == self.target and self.probed is None:
            self.probed = time.perf_counter()

    def on_order(self, order: Order) -> None:
        """The agent is ordered to do something; the dry run comes first."""
        if order.resource != self.target:
            return
        if self.ordered is None:
            self.ordered = time.perf_counter()
        if not order.params.get("dry_run"):
            self.repaired.set()


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description="How fast recovery begins.")
    parser.add_argument("--rounds", type=int, default=300)
    probes, orders, publishes = uvloop.run(_measure(parser.parse_args().rounds))
    for name, taken, limit in (("first_action", probes, LIMIT_MS), ("first_repair", orders, None)):
        figure("reaction", f"{name}_p50_ms", statistics.median(taken) * 1000)
        figure("reaction", f"{name}_p99_ms", statistics.quantiles(taken, n=100)[98] * 1000, at_most=limit)
    published = statistics.median(publishes)
    figure("reaction", "publish_p50_ms", published * 1000)
    figure("reaction", "first_action_in_publishes", statistics.median(probes) / published, peer="bare publish")


async def _measure(rounds: int) -> tuple[list[float], list[float], list[float]]:
    probes: list[float] = []
    orders: list[float] = []
    publishes: list[float] = []
    async with scene(TARGETS, guards={"brake_targets": 1000, "brake_percent": 100}) as found:
        targets = names(TARGETS)
        for number in range(rounds + WARM_UP):
            reaction, acknowledged = await _round(found, targets[number % TARGETS])
            publish = await _publish(found)
            if number < WARM_UP or reaction.probed is None or reaction.ordered is None:
                continue
            probes.append(max(0.0, reaction.probed - acknowledged))
            orders.append(max(0.0, reaction.ordered - acknowledged))
            publishes.append(publish)
    return probes, orders, publishes


async def _round(found: Scene, target: str) -> tuple[Reaction, float]:
    """One failure from its publication to its repair."""
    reaction, incident = Reaction(target), f"incident-{uuid4().hex}"
    found.on_check, found.on_order = reaction.on_check, reaction.on_order
    await found.fail(target, incident)
    acknowledged = time.perf_counter()
    async with asyncio.timeout(END_S):
        await reaction.repaired.wait()
    await found.clear(target, incident)
    await eventually(lambda: _at_rest(found), within=END_S)
    return reaction, acknowledged


async def _at_rest(found: Scene) -> bool:
    """The run has ended and every event is dealt with: the next failure waits for nothing that came before."""
    listed: RunList = await found.messaging.request(ListRuns(), timeout_s=END_S)
    consumer = await found.messaging.jetstream.consumer_info("EVENTS", "recovery-failures")
    return not listed.runs and not listed.waiting and not consumer.num_pending and not consumer.num_ack_pending


async def _publish(found: Scene) -> float:
    subject = f"{found.messaging.subjects.prefix}.evt.bench.{uuid4().hex}.published"
    began = time.perf_counter()
    await found.messaging.jetstream.publish(subject, BODY, stream="EVENTS")
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
