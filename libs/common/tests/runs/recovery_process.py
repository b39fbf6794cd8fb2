"""A recovery process of its own, to be killed: `python recovery_process.py URL MONITOR RUN`.

It starts the run that stands in the file RUN, and supervises.
With `YAOKI_FAULT` it ends itself with SIGKILL at a named point.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec
from yaoki.clock import SystemClock, Uuid7Source
from yaoki.messaging import Messaging, NatsSettings
from yaoki.runs import RunExecutor, RunLeases, RunRegistry, Workers
from yaoki.runs.nats_journal import NatsJournal
from yaoki.runs.remote import RemoteWorker
from yaoki.runs.settings import ExecutorSettings
from yaoki.runs.starting import StartRun


async def live(url: str, monitor: str, begin: StartRun) -> None:
    """Until killed."""
    settings = NatsSettings(servers=(url,), monitoring_url=monitor)
    async with Messaging.connect(settings, service="recovery", instance="recovery-mortal") as messaging:
        executor = RunExecutor(
            run_kind="recovery",
            instance="recovery-mortal",
            journal=NatsJournal(messaging.client, messaging.subjects, source="/recovery/recovery-mortal"),
            workers=Workers(remote=lambda name: RemoteWorker(messaging, name)),
            registry=RunRegistry(messaging.kv("runs")),
            leases=RunLeases(messaging.kv("leases"), ttl_s=1.0),
            clock=SystemClock(),
            ids=Uuid7Source(),
            settings=ExecutorSettings(look_s=0.1, poll_s=0.3),
        )
        await executor.start(begin)
        await executor.supervise()


if __name__ == "__main__":
    run = msgspec.json.decode(Path(sys.argv[3]).read_bytes(), type=StartRun)
    asyncio.run(live(sys.argv[1], sys.argv[2], run))
