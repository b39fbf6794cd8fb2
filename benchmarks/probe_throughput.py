"""Processor time of an HTTP probe, beside blackbox_exporter on the same server; and 10,000 targets on one prober.

    python benchmarks/probe_throughput.py [--probes 6000] [--rounds 5] [--targets 10000] [--seconds 60]

Prints one JSON object a line. Compared are probes for each second of processor time, which other work on the machine
hardly changes; medians of rounds in which both take turns, 32 probes under way at a time, a new connection each.

- `ours`: the HTTP check with deadlines, scheduler and state machine, as the prober runs it, on its event loop.
- `peer`: blackbox_exporter, module `http`, asked over its own HTTP endpoint as Prometheus asks it, on connections that
  stay open. Only its own process is counted, not who asks it.
- `bare`: connect, send, receive, close on the same event loop, without parsing, deadlines and verdicts: the floor.
- `prober`: the whole process with 10,000 targets every 30 s, all views and results published on a real NATS; its
  processor time contains all that. The peer's at the same pace is printed beside it: sparse probes cost both more.
  Lateness, the worst bucket since the start, is waiting for a processor: it says something on a quiet machine only.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import statistics
import time
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.parse import quote

import uvloop
from _figures import figure
from _prober import NAME, ProberProcess
from _servers import start_blackbox_exporter, start_web_server
from health_probe.adapters.network import Network
from health_probe.catalog import monitored_targets
from health_probe.kinds import Surroundings
from health_probe.prober import Prober
from health_probe.routes import RouteBook
from health_probe.scheduler import Job, Scheduler
from yaoki.clock import SystemClock
from yaoki.config import load_config
from yaoki_devstack import ports
from yaoki_devstack.services import ProcessGroup

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import psutil
    from health_probe.records import HealthRecord
    from health_probe.targets import MonitoredTarget

BENCH = "probe-throughput"
PEER = "blackbox_exporter"
AT_A_TIME = 32
RATIO_LIMIT = 1.2
LATE_LIMIT_S = 1.0
RSS_LIMIT_MB = 400.0
INTERVAL_S = 30
START_S = 300.0
PACED_S = 15.0


class Counter:
    """See `prober.Outlet`: tells when so many probes have ended well."""

    def __init__(self, count: int) -> None:
        self._left = count
        self.done = asyncio.Event()

    def report(self, record: HealthRecord, *_: object) -> None:
        """One more."""
        if record.state != "healthy":
            raise RuntimeError(f"the server of the benchmark is not well: {record.last}")
        self._left -= 1
        if self._left == 0:
            self.done.set()

    def ran_late(self, target: str, seconds: float) -> None:
        """Everything is late where the next probe is always due at once."""


async def ours(targets: list[MonitoredTarget], count: int) -> float:
    """Processor seconds for `count` probes through scheduler and state machine."""
    counter, clock = Counter(count), SystemClock()
    prober = Prober(targets=targets, me="bench", outlet=counter, clock=clock)
    for target in targets:
        prober.take(target.name, None)
    scheduler = Scheduler(clock=clock, random=random.Random(1), observer=prober)  # noqa: S311 - jitter, no secret
    started = time.process_time()
    running = asyncio.create_task(scheduler.run([job(target) for target in targets]))
    await asyncio.wait([running, asyncio.ensure_future(counter.done.wait())], return_when=asyncio.FIRST_COMPLETED)
    used = time.process_time() - started
    running.cancel()
    await asyncio.wait([running])
    if not running.cancelled():
        running.result()
    return used


def job(target: MonitoredTarget) -> Job:
    """A probe that is due again as soon as it has ended."""
    interval_s = target.thresholds.interval_s
    return Job(target=target.name, group="http", probe=target.probe, interval_s=interval_s, timeout_s=target.timeout_s)


async def bare(port: int, count: int) -> float:
    """Processor seconds for `count` requests with nothing around them."""

    async def request() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        if not (await reader.read()).startswith(b"HTTP/1.1 200"):
            raise RuntimeError("the server of the benchmark is not well")
        writer.transport.abort()

    started = time.process_time()
    await side_by_side(request, count)
    return time.process_time() - started


class Peer:
    """blackbox_exporter, asked as Prometheus asks it.

    Args:
        process: Its process.
        port: Where it listens.
        url: What it probes.
    """

    def __init__(self, process: psutil.Process, port: int, url: str) -> None:
        self._process = process
        self._port = port
        self._question = (
            f"GET /probe?module=http_2xx&target={quote(url, safe='')} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        )
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def saturated(self, count: int) -> float:
        """Processor seconds that it takes for `count` probes, `AT_A_TIME` at a time."""
        await side_by_side(self._ask, AT_A_TIME)
        before = self._cpu_s()
        await side_by_side(self._ask, count)
        return self._cpu_s() - before

    async def paced(self, count: int, per_s: float) -> float:
        """Processor seconds that it takes for `count` probes at a steady pace."""
        before, began = self._cpu_s(), time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                await asyncio.sleep(max(0.0, began + number / per_s - time.monotonic()))
                group.create_task(self._ask())
        return self._cpu_s() - before

    async def _ask(self) -> None:
        reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(self._question)
        # The answer is chunked, and a chunk may end anywhere.
        answer = re.sub(rb"\r\n[0-9a-f]+\r\n", b"", await reader.readuntil(b"\r\n0\r\n\r\n"))
        if b"probe_success 1" not in answer:
            raise RuntimeError(f"{PEER} says: {answer.decode()}")
        self._idle.append((reader, writer))

    def _cpu_s(self) -> float:
        used = self._process.cpu_times()
        return float(used.user + used.system)


async def side_by_side(work: Callable[[], Awaitable[None]], count: int) -> None:
    """Do it `count` times, `AT_A_TIME` at a time."""

    async def repeat() -> None:
        for _ in range(count // AT_A_TIME):
            await work()

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_A_TIME):
            group.create_task(repeat())


async def compare(probes: int, rounds: int) -> None:
    """The side by side part."""
    count = probes // AT_A_TIME * AT_A_TIME
    web, exporter = ports.lease(), ports.lease()
    url = f"http://127.0.0.1:{web.number}/health"
    with TemporaryDirectory() as directory:
        targets = configured(Path(directory), url)
    async with ProcessGroup() as processes:
        await start_web_server(processes, web.number)
        peer = Peer(await start_blackbox_exporter(processes, exporter.number), exporter.number, url)
        await ours(targets, count)
        rows = [
            (await ours(targets, count), await peer.saturated(count), await bare(web.number, count))
            for _ in range(rounds)
        ]
    web.release()
    exporter.release()
    ours_s, peer_s, bare_s = (statistics.median(column) for column in zip(*rows, strict=True))
    figure(BENCH, "ours_per_cpu_s", count / ours_s, peer=PEER)
    figure(BENCH, "peer_per_cpu_s", count / peer_s, peer=PEER)
    figure(BENCH, "bare_per_cpu_s", count / bare_s)
    figure(BENCH, "ours_cpu_us", ours_s / count * 1e6)
    figure(BENCH, "ratio", peer_s / ours_s, at_least=RATIO_LIMIT, peer=PEER)


def configured(directory: Path, url: str) -> list[MonitoredTarget]:
    """Targets built as the prober builds them."""
    file = directory / "yaoki.yaml"
    rows = "".join(f"  web-{number}: {{kind: http, url: '{url}'}}\n" for number in range(AT_A_TIME))
    timing = "probe: {defaults: {interval: 1ms, suspect_interval: 1ms, timeout: 10s}}\n"
    file.write_text("nats: {servers: ['nats://127.0.0.1:4222']}\n" + timing + "targets:\n" + rows, encoding="utf-8")
    config = load_config(file)
    surroundings = Surroundings(config=config, network=Network(), routes=RouteBook(), vantage="bench")
    return monitored_targets(surroundings, SystemClock())


async def at_scale(targets: int, seconds: float) -> None:
    """The part with the whole prober."""
    web, exporter = ports.lease(), ports.lease()
    async with ProberProcess() as prober:
        await start_web_server(prober.processes, web.number)
        url = f"http://127.0.0.1:{web.number}/health"
        began = time.monotonic()
        prober.start({f"web-{number:05}": {"kind": "http", "url": url} for number in range(targets)}, interval="30s")
        await prober.reached("yaoki_probe_results_total", 1, within=START_S)
        figure(BENCH, "start_s", time.monotonic() - began)
        await prober.reached("yaoki_probe_results_total", targets, within=START_S)
        results, cpu_s, began = await prober.total("yaoki_probe_results_total"), prober.cpu_s(), time.monotonic()
        rss: list[int] = []
        while time.monotonic() < began + seconds:
            rss.append(prober.process.memory_info().rss)
            await asyncio.sleep(1.0)
        took, cpu_s = time.monotonic() - began, prober.cpu_s() - cpu_s
        results = await prober.total("yaoki_probe_results_total") - results
        figure(BENCH, "prober_probes_per_s", results / took, at_least=targets / INTERVAL_S * 0.9)
        figure(BENCH, "prober_cpu_us", cpu_s / results * 1e6, peer=PEER)
        figure(BENCH, "prober_cpu_share", cpu_s / took)
        figure(BENCH, "worst_lateness_s", await worst_lateness(prober), at_most=LATE_LIMIT_S)
        figure(BENCH, "rss_mb", max(rss) / 1e6, at_most=RSS_LIMIT_MB)
        await prober.processes.stop(NAME)
        peer = Peer(await start_blackbox_exporter(prober.processes, exporter.number), exporter.number, url)
        count = int(results / took * PACED_S)
        figure(BENCH, "peer_at_that_pace_cpu_us", await peer.paced(count, results / took) / count * 1e6, peer=PEER)
    web.release()
    exporter.release()


async def worst_lateness(prober: ProberProcess) -> float:
    """Upper bound of the last bucket of the histogram that is not empty, since the start."""
    buckets = [
        (float(labels["le"]), count) for labels, count in await prober.samples("yaoki_probe_late_seconds_bucket")
    ]
    return max((upper for (_, below), (upper, count) in pairwise([(0.0, 0.0), *buckets]) if count > below), default=0.0)


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--probes", type=int, default=6000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--targets", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    figure(BENCH, "load_before", os.getloadavg()[0])
    uvloop.run(compare(options.probes, options.rounds))
    uvloop.run(at_scale(options.targets, options.seconds))
    figure(BENCH, "load_after", os.getloadavg()[0])


if __name__ == "__main__":
    main()
