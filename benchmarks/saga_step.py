"""What a saga costs: ten steps that do nothing, each ordered from a worker over NATS, beside DBOS on SQLite.

    python benchmarks/saga_step.py [--rounds 5] [--runs 20]

Both sides order the same worker, a process of its own that remembers nothing, over the same NATS. Both write to a disk
that is synced: Yaoki an intent before and an outcome after each step into JetStream with `sync_interval: always`, DBOS
what came of each step into SQLite with `synchronous=FULL`. Sides take turns; the first round of each is thrown away.
`cpu` counts every process that takes part: the coordinator's own, the worker's, and nats-server's. DBOS is brought into
an environment of its own, `.tools/peers`, on first use. Prints one JSON object a line.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import msgspec
import psutil
import structlog
import uvloop
from _figures import figure
from yaoki.clock import SystemClock, Uuid7Source
from yaoki.commands.worker import PerformOrder
from yaoki.epoch import Epoch
from yaoki.messaging import Messaging, NatsSettings
from yaoki.plans import Branch, Call, Order, Phase, Plan, Step
from yaoki.provision import provision
from yaoki.runs import NatsJournal, RemoteWorker, RunExecutor, RunLeases, RunRegistry, StartRun, Workers
from yaoki_devstack.nats import NatsServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).parents[1]
HERE = Path(__file__).parent
PEERS = ROOT / ".tools" / "peers" / "dbos"
STEPS = 10
RATIO_LEAST = 3.0
CALL = Call(worker="noop", action="nothing", params={"target": "orders-db"})
PLAN = Plan(name="bench", branches=(Branch(name="main", steps=tuple(Step(id=f"s{n}", do=CALL) for n in range(STEPS))),))


class Side(msgspec.Struct):
    """What one side took.

    Attributes:
        runs: Seconds of each saga.
        cpu: Seconds of CPU of all its processes.
    """

    runs: list[float] = []
    cpu: float = 0.0

    def add(self, runs: list[float], cpu: float) -> None:
        """One round more."""
        self.runs += runs
        self.cpu += cpu

    def step_ms(self) -> float:
        """Median over the sagas."""
        return statistics.median(self.runs) / STEPS * 1000

    def cpu_ms(self) -> float:
        """Mean for each step."""
        return self.cpu / (len(self.runs) * STEPS) * 1000


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description="Time and CPU of a durable step with its order.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=20)
    arguments = parser.parse_args()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # standard output is for figures
    yaoki, dbos = uvloop.run(_measure(arguments.rounds, arguments.runs, _peer()))
    peer = "DBOS on SQLite"
    figure("saga-step", "step_p50_ms", yaoki.step_ms(), peer=peer)
    figure("saga-step", "run_p99_ms", statistics.quantiles(yaoki.runs, n=100)[98] * 1000, peer=peer)
    figure("saga-step", "cpu_ms_per_step", yaoki.cpu_ms(), peer=peer)
    figure("saga-step", "dbos_step_p50_ms", dbos.step_ms())
    figure("saga-step", "dbos_run_p99_ms", statistics.quantiles(dbos.runs, n=100)[98] * 1000)
    figure("saga-step", "dbos_cpu_ms_per_step", dbos.cpu_ms())
    figure("saga-step", "times_faster", dbos.step_ms() / yaoki.step_ms(), at_least=RATIO_LEAST, peer=peer)


def _peer() -> Path:
    """The interpreter of an environment with DBOS in it, built from pinned wheels when it is not there."""
    python = PEERS / "bin" / "python"
    if not python.exists():
        uv = str(ROOT / ".tools" / "bin" / "uv")
        pins = ["--require-hashes", "--requirement", str(HERE / "_saga_dbos.txt")]
        for command in (
            [uv, "venv", "--quiet", "--python", sys.executable, str(PEERS)],
            [uv, "pip", "install", "--quiet", "--python", str(python), *pins],
        ):
            subprocess.run(command, check=True, stdout=sys.stderr)  # noqa: S603 - our own uv, no shell
    return python


async def _measure(rounds: int, runs: int, python: Path) -> tuple[Side, Side]:
    yaoki, dbos = Side(), Side()
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="yaoki-saga-")))
        server = await stack.enter_async_context(NatsServer())
        settings = NatsSettings(servers=(server.url,), monitoring_url=server.monitor_url)
        await provision(settings)
        worker = await stack.enter_async_context(_process([sys.executable, HERE / "_saga_worker.py", server.url]))
        messaging = await stack.enter_async_context(Messaging.connect(settings, service="recovery", instance="bench-1"))
        order = folder / "order.json"
        order.write_bytes(msgspec.json.encode(PerformOrder(order=_order())))
        program = [python, HERE / "_saga_dbos.py", server.url, folder / "dbos.sqlite", order, STEPS]
        other = await stack.enter_async_context(_process(program))
        shared = [psutil.Process(server.pid), psutil.Process(worker.pid)]
        for number in range(rounds + 1):
            before = _cpu([*shared, psutil.Process()])
            own = await _sagas(messaging, runs)
            between = _cpu([*shared, psutil.Process()]) - before
            before = _cpu([*shared, psutil.Process(other.pid)])
            theirs = await _asked(other, runs)
            if number:
                yaoki.add(own, between)
                dbos.add(theirs, _cpu([*shared, psutil.Process(other.pid)]) - before)
    return yaoki, dbos


@contextlib.asynccontextmanager
async def _process(argv: list[object]) -> AsyncIterator[asyncio.subprocess.Process]:
    """A child that says when it is ready; killed at the end."""
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(*map(str, argv), stdin=pipe, stdout=pipe)
    try:
        await _line(child)
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()


async def _asked(child: asyncio.subprocess.Process, count: int) -> list[float]:
    if child.stdin is None:
        raise RuntimeError("the child has no standard input")
    child.stdin.write(f"{count}\n".encode())
    await child.stdin.drain()
    return msgspec.json.decode(await _line(child), type=list[float])


async def _line(child: asyncio.subprocess.Process) -> bytes:
    if child.stdout is None:
        raise RuntimeError("the child has no standard output")
    line = await child.stdout.readline()
    if not line:
        raise RuntimeError(f"a process of the benchmark ended with status {await child.wait()}")
    return line


async def _sagas(messaging: Messaging, count: int) -> list[float]:
    executor = RunExecutor(
        run_kind="recovery",
        instance="bench-1",
        journal=NatsJournal(messaging.client, messaging.subjects, source="/bench/bench-1"),
        workers=Workers(remote=lambda name: RemoteWorker(messaging, name)),
        registry=RunRegistry(messaging.kv("runs")),
        leases=RunLeases(messaging.kv("leases")),
        clock=SystemClock(),
        ids=Uuid7Source(),
    )
    taken = []
    async with asyncio.timeout(120 + count):
        for _ in range(count):
            run = StartRun(run_kind="recovery", run_id=f"bench-{uuid4().hex}", resource="bench", plan=PLAN)
            began = time.perf_counter()
            ended = await executor.finished(await executor.start(run))
            taken.append(time.perf_counter() - began)
            if ended.ending is None or ended.ending.value != "completed":
                raise RuntimeError(f"a saga ended {ended.ending}: {ended.reason}")
    await executor.stop()
    return taken


def _order() -> Order:
    """As large as those that Yaoki sends."""
    return Order(
        command_id=f"bench-{uuid4().hex}.main.s0.do.1",
        run_kind="recovery",
        run_id=f"bench-{uuid4().hex}",
        resource="bench",
        step="s0",
        phase=Phase.DO,
        action=CALL.action,
        params=CALL.params,
        epoch=Epoch(1795232307770, 4711),
        expires_at=SystemClock().now() + timedelta(seconds=30),
    )


def _cpu(processes: list[psutil.Process]) -> float:
    times = [process.cpu_times() for process in processes]
    return sum(itertools.chain.from_iterable((one.user, one.system) for one in times))


if __name__ == "__main__":
    main()
