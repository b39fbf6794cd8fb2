"""Typed messages with all delivery rules, beside FastStream and nats-py without any, on the same messages.

    python benchmarks/messaging.py [--messages 20000] [--rounds 5]

Prints one JSON object a line. Figures are medians of the rounds; within a round the variants take turns on one
server, and ratios are of medians of the same run, so that the machine's mood cancels out.

- `consume`: messages a second through a Yaoki handler (strict decoding, dead letters, tracing with an SDK, metrics),
  a bare FastStream subscriber (its defaults, logging off), and bare nats-py (fetch, decode, acknowledge).
- `publish`: events a second, 64 in flight, through the Yaoki publisher and through bare nats-py.
- `latency`: milliseconds from publish to handler at 200 messages a second, the first message after start included.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from typing import TYPE_CHECKING, Any

import msgspec
import nats
import uvloop
from _figures import figure
from faststream.nats import JStream, NatsBroker, PullSub
from nats.js.api import ConsumerConfig
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from yaoki.epoch import Epoch
from yaoki.events.agent import ServerStarted
from yaoki.messaging import Messaging, NatsSettings
from yaoki.provision import provision
from yaoki_devstack.nats import NatsServer

if TYPE_CHECKING:
    from yaoki.messaging import Envelope

IN_FLIGHT = 64
FETCH = 256
LATENCY_LIMIT_MS = 5.0
CONSUME_LIMIT = 0.8
LATENCY_MESSAGES = 1000
LATENCY_PAUSE_S = 0.005
SUBJECT = "yaoki.evt.agent.*.server-started"
EVENT = ServerStarted(
    agent="agent-pg-a", cluster="orders", member="pg-a", epoch=Epoch(1795232307770, 4711), role="primary"
)


class Target:
    """Counts messages and tells when all have arrived."""

    def __init__(self, count: int) -> None:
        self._left = count
        self.done = asyncio.Event()

    def hit(self) -> None:
        """One more."""
        self._left -= 1
        if self._left == 0:
            self.done.set()


async def bind(messaging: Messaging, durable: str) -> None:
    """A fresh consumer over all stored messages."""
    await messaging.jetstream.add_consumer(
        "EVENTS",
        ConsumerConfig(durable_name=durable, filter_subject=SUBJECT, ack_wait=30, max_deliver=30, max_ack_pending=1000),
    )


async def publish_yaoki(messaging: Messaging, count: int) -> float:
    """Events a second."""
    slots = asyncio.Semaphore(IN_FLIGHT)

    async def one() -> None:
        async with slots:
            await messaging.publisher.publish(EVENT)

    started = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(count)))
    return count / (time.perf_counter() - started)


async def publish_bare(url: str, count: int) -> float:
    """Messages a second with nats-py alone, one header."""
    client = await nats.connect(url)
    jetstream = client.jetstream()
    body = msgspec.json.encode(EVENT)
    slots = asyncio.Semaphore(IN_FLIGHT)

    async def one(number: int) -> None:
        async with slots:
            await jetstream.publish(
                "yaoki.evt.bench.x.bare", body, headers={"Nats-Msg-Id": f"bare-{time.time_ns()}-{number}"}
            )

    started = time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(count)))
    elapsed = time.perf_counter() - started
    await client.close()
    return count / elapsed


async def consume_yaoki(settings: NatsSettings, durable: str, count: int) -> float:
    """Messages a second through a handler with everything on."""
    target = Target(count)

    async def handler(_: ServerStarted, __: Envelope) -> None:
        target.hit()

    async with Messaging.connect(settings, service="bench", instance=durable) as messaging:
        messaging.on(durable=durable, types=(ServerStarted,), handler=handler)
        started = time.perf_counter()
        await messaging.start()
        await target.done.wait()
        return count / (time.perf_counter() - started)


async def consume_faststream(url: str, durable: str, count: int) -> float:
    """Messages a second through FastStream's own pull subscriber."""
    broker = NatsBroker(url, logger=None)
    target = Target(count)

    @broker.subscriber(
        SUBJECT,
        stream=JStream("EVENTS", declare=False),
        durable=durable,
        pull_sub=PullSub(batch_size=100),
    )
    async def handler(_: dict[str, Any]) -> None:
        target.hit()

    started = time.perf_counter()
    await broker.start()
    await target.done.wait()
    elapsed = time.perf_counter() - started
    await broker.stop()
    return count / elapsed


async def consume_bare(url: str, durable: str, count: int) -> float:
    """Messages a second with nats-py alone."""
    client = await nats.connect(url)
    subscription = await client.jetstream().pull_subscribe_bind(consumer=durable, stream="EVENTS")
    decoder = msgspec.json.Decoder(ServerStarted)
    left = count
    started = time.perf_counter()
    while left > 0:
        for message in await subscription.fetch(FETCH):
            decoder.decode(message.data)
            await message.ack()
            left -= 1
    elapsed = time.perf_counter() - started
    await client.close()
    return count / elapsed


async def latencies(settings: NatsSettings) -> list[float]:
    """Milliseconds from publish to handler, in order; the first is that of a service that has just started."""
    sent: dict[str, float] = {}
    took: list[float] = []
    target = Target(LATENCY_MESSAGES)

    async def handler(_: ServerStarted, envelope: Envelope) -> None:
        took.append((time.perf_counter() - sent[envelope.id]) * 1000)
        target.hit()

    async with Messaging.connect(settings, service="bench", instance="latency") as messaging:
        await messaging.jetstream.add_consumer(
            "EVENTS",
            ConsumerConfig(
                durable_name="latency", filter_subject=SUBJECT, ack_wait=30, max_deliver=30, max_ack_pending=1000
            ),
        )
        messaging.on(durable="latency", types=(ServerStarted,), handler=handler)
        await messaging.start()
        for number in range(LATENCY_MESSAGES):
            identity = f"latency-{number}"
            sent[identity] = time.perf_counter()
            await messaging.publisher.publish(EVENT, event_id=identity)
            await asyncio.sleep(LATENCY_PAUSE_S)
        await target.done.wait()
    return took


async def measure_latency() -> None:
    """On a server of its own, before this process has handled anything."""
    async with NatsServer() as server:
        settings = NatsSettings(servers=(server.url,), monitoring_url=server.monitor_url)
        await provision(settings)
        took = await latencies(settings)
    ordered = sorted(took)
    figure("messaging", "latency_first_ms", took[0])
    figure("messaging", "latency_p50_ms", statistics.median(ordered))
    figure("messaging", "latency_p99_ms", ordered[int(len(ordered) * 0.99)], at_most=LATENCY_LIMIT_MS)
    figure("messaging", "latency_worst_ms", ordered[-1])


async def measure_throughput(count: int, rounds: int) -> None:
    """All variants on the same stored messages."""
    async with NatsServer() as server:
        settings = NatsSettings(servers=(server.url,), monitoring_url=server.monitor_url)
        await provision(settings)
        async with Messaging.connect(settings, service="bench", instance="main") as messaging:
            publishing = await publish_yaoki(messaging, count)
            bare_publishing = await publish_bare(server.url, count)
            figure("messaging", "publish_per_s", publishing)
            figure("messaging", "publish_ratio", publishing / bare_publishing, peer="bare nats-py")
            speeds: dict[str, list[float]] = {"yaoki": [], "faststream": [], "nats_py": []}
            for number in range(rounds):
                for name in speeds:
                    await bind(messaging, f"{name}-{number}")
                speeds["yaoki"].append(await consume_yaoki(settings, f"yaoki-{number}", count))
                speeds["faststream"].append(await consume_faststream(server.url, f"faststream-{number}", count))
                speeds["nats_py"].append(await consume_bare(server.url, f"nats_py-{number}", count))
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    for name, speed in medians.items():
        figure("messaging", f"consume_{name}_per_s", speed)
    ratio = medians["yaoki"] / medians["faststream"]
    figure("messaging", "consume_ratio", ratio, at_least=CONSUME_LIMIT, peer="bare FastStream")
    figure("messaging", "consume_ratio", medians["yaoki"] / medians["nats_py"], peer="bare nats-py")


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    trace.set_tracer_provider(TracerProvider())
    uvloop.run(measure_latency())
    uvloop.run(measure_throughput(arguments.messages, arguments.rounds))


if __name__ == "__main__":
    main()
