"""From the instant at which a target breaks to the acknowledged FailureDetected.

    python benchmarks/detection.py [--each 5]

The real prober on a real NATS, watching real web servers that break in three ways: killed (connections are refused),
stopped (they are accepted by the kernel and nothing answers), and killed behind a proxy (connections are reset). Each
breaks at the worst moment, right after a probe that found it well, as told on the live feed. All break in one round at
the defaults and in one at an interval of 1 s. Prints one JSON object a line.

The limit is what the settings promise, plus 100 ms: `interval + (failures - 1) * re-probe interval`, and the timeout of
the last probe where nothing answers.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import msgspec
import nats
from _figures import figure
from _prober import ProberProcess
from _servers import start_web_server
from yaoki_devstack import ports
from yaoki_devstack.proxy import TcpProxy

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

BENCH = "detection"
MARGIN_S = 0.1
WAYS = ("refused", "hanging", "reset")
EVENT = "yaoki.evt.probe.*.failure-detected"
LIVE = "yaoki.live.probe.*"


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of one round; those of a probe that is not configured, unless said otherwise."""

    name: str
    interval_s: float = 30.0
    suspect_interval_s: float = 5.0
    timeout_s: float = 5.0
    failures: int = 3

    def promised_s(self, way: str) -> float:
        """The longest time that detection may take."""
        silence = self.timeout_s if way == "hanging" else 0.0
        return self.interval_s + (self.failures - 1) * max(self.suspect_interval_s, silence) + silence


ROUNDS = (
    Timing(name="1s", interval_s=1.0, suspect_interval_s=1.0, timeout_s=1.0),
    Timing(name="defaults"),
)


class Round:
    """Servers that break, and what was told about them."""

    def __init__(self, timing: Timing, each: int) -> None:
        self._timing = timing
        self._names = [f"{way}-{number}" for way in WAYS for number in range(each)]
        self._broken_at: dict[str, float] = {}
        self._took: dict[str, float] = {}
        self._done = asyncio.Event()

    async def run(self) -> dict[str, float]:
        """Seconds until detection, by target."""
        async with AsyncExitStack() as stack:
            prober = self._prober = await stack.enter_async_context(ProberProcess())
            targets: dict[str, dict[str, Any]] = {}
            for name in self._names:
                server = ports.lease()
                stack.callback(server.release)
                await start_web_server(prober.processes, server.number, name)
                port = server.number
                if name.startswith("reset"):
                    port = (await stack.enter_async_context(TcpProxy(server.number))).port
                targets[name] = {"kind": "http", "url": f"http://127.0.0.1:{port}/health"}
            client = await nats.connect(prober.nats.url)
            stack.push_async_callback(client.close)
            await self._listen(client)
            prober.start(targets, **self._settings())
            async with asyncio.timeout(60 + 2 * self._timing.interval_s + self._timing.promised_s("hanging")):
                await self._done.wait()
        return self._took

    def _settings(self) -> dict[str, str]:
        if self._timing == Timing(name=self._timing.name):
            return {}
        return {
            "interval": f"{self._timing.interval_s:g}s",
            "suspect_interval": f"{self._timing.suspect_interval_s:g}s",
            "timeout": f"{self._timing.timeout_s:g}s",
        }

    async def _listen(self, client: Client) -> None:
        # From the stream and not as it is published: what a consumer of the stream gets has been stored.
        await client.jetstream().subscribe(EVENT, cb=self._detected, ordered_consumer=True)
        await client.subscribe(LIVE, cb=self._probed)
        await client.flush()

    async def _probed(self, message: Msg) -> None:
        name = message.subject.rpartition(".")[2]
        if name in self._broken_at or msgspec.json.decode(message.data)["state"] != "healthy":
            return
        self._broken_at[name] = time.perf_counter()
        if name.startswith("hanging"):
            self._prober.processes.pause(name)
        else:
            await self._prober.processes.kill(name)

    async def _detected(self, message: Msg) -> None:
        name = message.subject.split(".")[3]
        self._took[name] = time.perf_counter() - self._broken_at[name]
        if len(self._took) == len(self._names):
            self._done.set()


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=5, help="targets that break in each way")
    each = parser.parse_args().each
    figure(BENCH, "load_before", os.getloadavg()[0])
    for timing in ROUNDS:
        took = asyncio.run(Round(timing, each).run())
        for way in WAYS:
            seconds = [value for name, value in took.items() if name.startswith(way)]
            figure(BENCH, f"{timing.name}_{way}_median_s", statistics.median(seconds))
            figure(BENCH, f"{timing.name}_{way}_worst_s", max(seconds), at_most=timing.promised_s(way) + MARGIN_S)
    figure(BENCH, "load_after", os.getloadavg()[0])


if __name__ == "__main__":
    main()
