"""A month of ledger: how much of JetStream it takes, and how long its report.

    python benchmarks/slo_ledger.py [--targets 1000] [--days 31]

Prints one JSON object a line. The month is written the way the slo role writes it: one entry for each target and day,
with two responses a minute, a few failures and a window of maintenance. There is no peer that keeps such a ledger; the
limits are what still fits a small JetStream and a page that somebody waits for.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import msgspec
import nats
from _figures import figure
from health_probe.slo.alarms import Alarms
from health_probe.slo.desk import MaintenanceDesk
from health_probe.slo.incidents import Incidents
from health_probe.slo.ledger import Ledger
from health_probe.slo.levels import Levels
from health_probe.slo.minutes import Day, Seen
from health_probe.slo.moments import DAY_MINUTES, minute_of
from health_probe.slo.responses import Responses, measured
from health_probe.slo.services import service_levels
from typing_extensions import override
from yaoki.clock import SystemClock
from yaoki.commands.slo import SloReport, SloStatus
from yaoki.config import load_config
from yaoki.config.connect import nats_settings
from yaoki.maintenance import BUCKET
from yaoki.messaging import Messaging
from yaoki.provision import provision
from yaoki_devstack.nats import NatsServer

BENCH = "slo-ledger"
MONTH_LIMIT_KIB = 64.0
REPORT_LIMIT_MS = 1000.0
MONTH = "2026-10"
FIRST_DAY = minute_of(datetime(2026, 9, 30, tzinfo=UTC)) // DAY_MINUTES
REPORTS = 20
KEPT_DAYS = 16
"""Different days that are made; making a thousand months minute by minute is not what is measured."""


class LastHour(SystemClock):
    """A clock that stands in the last hour of the month, so that the running month is the one that was written."""

    @override
    def now(self) -> datetime:
        return datetime(2026, 10, 31, 14, 0, tzinfo=UTC)


def days(rng: random.Random) -> list[Day]:
    """Whole days with failures, maintenance and two responses a minute."""
    made = []
    for _ in range(KEPT_DAYS):
        seen = bytearray([Seen.UP]) * DAY_MINUTES
        for _ in range(rng.randrange(4)):
            first = rng.randrange(DAY_MINUTES - 30)
            length = rng.randrange(1, 30)
            seen[first : first + length] = bytes([Seen.DOWN]) * length
        responses = Responses()
        for minute in range(DAY_MINUTES):
            for _ in range(2):
                responses += measured(minute, rng.lognormvariate(4, 0.8))
        made.append(Day(day=0).decided(bytes(seen), list(range(17 * 60, 18 * 60)), responses))
    return made


async def write_month(ledger: Ledger, targets: list[str], length: int, made: list[Day], rng: random.Random) -> None:
    """Every target's days, one after the other as a month goes by."""

    def filled(found: Day) -> Day:
        return msgspec.structs.replace(rng.choice(made), day=found.day)

    for day in range(length + 1):
        await asyncio.gather(*(ledger.change(target, FIRST_DAY + day, filled) for target in targets))
        ledger.distrust()


async def bench(targets: int, length: int, directory: Path) -> None:
    """Write the month, then report on it."""
    rng = random.Random(1)  # noqa: S311 - the same month at every run
    async with NatsServer() as server:
        file = directory / "yaoki.yaml"
        names = [f"target-{number:05}" for number in range(targets)]
        file.write_text(
            f"nats: {{servers: ['{server.url}'], monitoring_url: '{server.monitor_url}'}}\ntargets:\n"
            + "".join(f"  {name}: {{kind: tcp, host: 127.0.0.1, port: 1}}\n" for name in names),
            encoding="utf-8",
        )
        config = load_config(file)
        await provision(nats_settings(config.nats))
        async with Messaging.connect(nats_settings(config.nats), service="bench", instance="bench") as messaging:
            slo, clock = messaging.kv(BUCKET), LastHour()
            ledger = Ledger(slo)
            made = days(rng)
            started = time.perf_counter()
            await write_month(ledger, names, length, made, rng)
            elapsed = time.perf_counter() - started
            figure(BENCH, "entries written a second", targets * (length + 1) / elapsed)
            await size(server.url, targets)
            desk = MaintenanceDesk(
                slo=slo,
                publisher=messaging.publisher,
                rules=config.maintenance,
                targets=config.targets,
                clock=clock,
                subjects=messaging.subjects,
            )
            levels = Levels(
                config=config,
                promised=service_levels(config),
                ledger=ledger,
                incidents=Incidents(slo),
                desk=desk,
                alarms=Alarms(slo, messaging.publisher, 10),
                clock=clock,
            )
            await report(levels, names)


async def size(url: str, targets: int) -> None:
    """What JetStream says of the bucket."""
    client = await nats.connect(url)
    state = (await client.jetstream().stream_info(f"KV_{BUCKET}")).state
    await client.close()
    figure(BENCH, "entries in JetStream", state.messages)
    figure(BENCH, "MiB in JetStream", state.bytes / 2**20)
    figure(BENCH, "bytes for each target and day", state.bytes / state.messages)
    figure(BENCH, "KiB for each target and month", state.bytes / targets / 1024, at_most=MONTH_LIMIT_KIB)


async def report(levels: Levels, names: list[str]) -> None:
    """One report, many reports, and the figures of all services at once."""
    forms: tuple[Literal["json", "html"], ...] = ("json", "html")
    for form in forms:
        times = []
        for name in names[:REPORTS]:
            started = time.perf_counter()
            made = await levels.report(SloReport(service_name=name, month=MONTH, format=form))
            times.append(time.perf_counter() - started)
            whole = made.complete and made.minutes.up > 0 and made.minutes.maintenance == 60 * len(made.days)
            if not whole:
                figure(BENCH, f"report of {name} is whole", 0, at_least=1)
        figure(BENCH, f"ms for a {form} report, median", sorted(times)[len(times) // 2] * 1000)
        figure(BENCH, f"ms for a {form} report, slowest", max(times) * 1000, at_most=REPORT_LIMIT_MS)
    started = time.perf_counter()
    for name in names:
        await levels.report(SloReport(service_name=name, month=MONTH))
    figure(BENCH, f"s for the reports of all {len(names)} services", time.perf_counter() - started)
    started = time.perf_counter()
    statuses = await levels.statuses(SloStatus())
    figure(BENCH, f"s for the status of all {len(statuses)} services", time.perf_counter() - started)


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", type=int, default=1000)
    parser.add_argument("--days", type=int, default=31)
    options = parser.parse_args()
    with TemporaryDirectory() as directory:
        asyncio.run(bench(options.targets, options.days, Path(directory)))


if __name__ == "__main__":
    main()
