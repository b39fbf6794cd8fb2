"""A provisioned NATS with targets whose probers are played by the test, and slo roles on it."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from health_probe.records import BUCKET, HealthRecord, record_key
from health_probe.slo.ledger import Ledger
from health_probe.slo.main import Parts, wire
from health_probe.slo.moments import DAY_MINUTES, Period
from yaoki.config import load_config
from yaoki.config.connect import nats_settings
from yaoki.events.probe import ErrorClass, FailureCleared, FailureDetected, FailureType, ProbeResult, ProbeStatus
from yaoki.maintenance import BUCKET as SLO
from yaoki.maintenance import KEY, MaintenanceWindow, WindowBook
from yaoki.messaging import Messaging
from yaoki.provision import provision
from yaoki.testing import eventually
from yaoki_devstack.process import spawn

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator, Mapping

    from yaoki.clock import Clock
    from yaoki_devstack.nats import NatsServer

CONFIG = """\
region: test
nats: {{servers: ["{url}"], monitoring_url: "{monitor}"}}
telemetry: {{log: json}}
probe: {{defaults: {{interval: 20s, timeout: 5s, suspect_interval: 5s}}}}
targets:
  orders-api: {{kind: http, url: "http://127.0.0.1:1/health"}}
  orders-db: {{kind: tcp, host: 127.0.0.1, port: 1}}
slo:
  lease: 2s
  services:
    orders: {{targets: [orders-api]}}
"""
TARGET = "orders-api"
VANTAGE = "test"


class World:
    """See the module."""

    def __init__(self, server: NatsServer, directory: Path, hand: Messaging, config_file: Path) -> None:
        self.server = server
        self.directory = directory
        self.hand = hand
        self.config_file = config_file
        self.config = load_config(config_file)
        self._stack = AsyncExitStack()

    # -- the probers

    async def see(
        self, at: datetime, *, observed_since: datetime | None = None, state: str = "healthy", **more: object
    ) -> None:
        """A prober publishes its view of the target."""
        failed = state in {"failed", "suspect"}
        record = HealthRecord(
            target=TARGET,
            kind="http",
            region="test",
            vantage=VANTAGE,
            failure_type=FailureType.EXTERNAL_SERVICE,
            state=state,
            since=at if failed else (observed_since or at),
            checked_at=at,
            last=ProbeResult(
                status=ProbeStatus.UNHEALTHY if failed else ProbeStatus.HEALTHY,
                at=at,
                response_ms=120.0,
                error_class=ErrorClass.REFUSED if failed else None,
            ),
            observed_since=observed_since,
        )
        record = msgspec.structs.replace(record, **more)
        await self.hand.kv(BUCKET).put(record_key(TARGET, VANTAGE), msgspec.json.encode(record))

    async def fail(self, incident: str, first_failed_at: datetime) -> None:
        """A prober publishes a failure."""
        event = FailureDetected(**_said(incident), first_failed_at=first_failed_at, failures=3)
        await self.hand.publisher.publish(event)

    async def clear(self, incident: str, down_since: datetime, until: datetime) -> None:
        """A prober publishes its end."""
        downtime = (until - down_since).total_seconds()
        await self.hand.publisher.publish(FailureCleared(**_said(incident), down_since=down_since, downtime_s=downtime))

    # -- the slo role

    @asynccontextmanager
    async def role(self, clock: Clock, instance: str = "slo-1") -> AsyncIterator[Parts]:
        """A role in this process that works when the test says so, at the test's time."""
        connecting = Messaging.connect(nats_settings(self.config.nats), service="health-probe", instance=instance)
        async with connecting as messaging:
            parts = await wire(self.config, messaging, clock)
            events = asyncio.create_task(parts.feeds.follow_events())
            try:
                await parts.feeds.refresh()
                await parts.bookkeeper.take_over()
                yield parts
            finally:
                events.cancel()
                await asyncio.gather(events, return_exceptions=True)

    async def round(self, parts: Parts) -> int:
        """Take everything in and do one round."""
        await parts.feeds.refresh()
        return await parts.bookkeeper.round(parts.feeds.position)

    def process(self, instance: str, *, fault: str = "") -> subprocess.Popen[bytes]:
        """A role as it is deployed."""
        environment: Mapping[str, str] = {"YAOKI_FAULT": fault} if fault else {}
        child = spawn(
            [
                *(sys.executable, "-m", "health_probe", "--config", self.config_file),
                *("--role", "slo", "--instance", instance),
            ],
            cwd=Path("/"),
            log_file=self.directory / f"{instance}.log",
            environment=dict(environment),
        )
        self._stack.callback(_end, child)
        return child

    async def seed(self, at: datetime) -> None:
        """Have the contract of the target begin at `at`, a whole minute."""
        clock = FixedClock(at)
        async with self.role(clock, "seed") as parts:
            await self.see(at + timedelta(seconds=65), observed_since=at - timedelta(minutes=5))
            clock.at = at + timedelta(seconds=66)
            assert await self.round(parts) == 1

    async def book_window(self, start: datetime, *, told: bool) -> None:
        """A window stands in the record, as if whoever accepted it had died right after."""
        window = MaintenanceWindow(
            window_id="booked",
            targets=(TARGET,),
            start=start,
            end=start + timedelta(hours=1),
            announced_at=start - timedelta(days=9),
            announced_by="ada",
            told=("maintenance-announced",) if told else (),
        )
        await self.hand.kv(SLO).put(KEY, msgspec.json.encode(WindowBook(windows=(window,))))

    # -- what came of it

    async def ledger(self, first: int, end: int) -> bytes:
        """What the ledger saw of these minutes, as it lies there."""
        days = await Ledger(self.hand.kv(SLO)).days([TARGET], Period(first, end))
        seen = bytearray(end - first)
        for day in days[TARGET]:
            part = Period(first, end).within(day.period)
            own = day.seen[part.first % DAY_MINUTES : part.first % DAY_MINUTES + len(part)]
            seen[part.first - first : part.first - first + len(part)] = own
        return bytes(seen)

    async def responses(self, first: int, end: int) -> int:
        """How many responses the ledger counted on the days of these minutes."""
        days = await Ledger(self.hand.kv(SLO)).days([TARGET], Period(first, end))
        return sum(sum(sum(figures[1:]) for figures in day.responses.slots.values()) for day in days[TARGET])

    async def events(self, name: str) -> list[dict[str, object]]:
        """Bodies of stored slo events of one type, in order."""
        info = await self.hand.jetstream.stream_info("EVENTS")
        numbers = range(1, info.state.last_seq + 1)
        found = [await self.hand.jetstream.get_msg("EVENTS", seq=sequence) for sequence in numbers]
        bodies = [msgspec.json.decode(message.data or b"{}") for message in found]
        return [body for body in bodies if body["type"] == name]

    async def until(self, first: int, end: int, expected: bytes, within: float = 20.0) -> None:
        """Wait until the ledger says that of these minutes."""

        async def reached() -> bool:
            found = await self.ledger(first, end)
            assert found == expected, f"{list(found)} instead of {list(expected)}"
            return True

        await eventually(reached, within=within)

    async def close(self) -> None:
        """End what still runs."""
        await self._stack.aclose()


class FixedClock:
    """A clock that stands still."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()

    async def sleep(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@asynccontextmanager
async def world_on(server: NatsServer, directory: Path) -> AsyncIterator[World]:
    """Provision a server and connect the test's hand."""
    config_file = directory / "yaoki.yaml"
    config_file.write_text(CONFIG.format(url=server.url, monitor=server.monitor_url), encoding="utf-8")
    settings = nats_settings(load_config(config_file).nats)
    await provision(settings)
    async with Messaging.connect(settings, service="test", instance="test") as hand:
        world = World(server, directory, hand, config_file)
        try:
            yield world
        finally:
            await world.close()


def whole_minute(at: datetime) -> datetime:
    """The minute that has begun."""
    return at.astimezone(UTC).replace(second=0, microsecond=0)


def _said(incident: str) -> dict[str, Any]:
    return {
        "target": TARGET,
        "target_kind": "http",
        "region": "test",
        "vantage": VANTAGE,
        "failure_type": FailureType.EXTERNAL_SERVICE,
        "incident_id": incident,
    }


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.kill()
        child.wait()
