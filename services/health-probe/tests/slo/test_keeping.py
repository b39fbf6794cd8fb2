"""The ledger on a real NATS: kept, corrected, taken over, and the same whoever wrote it."""

from __future__ import annotations

import asyncio
import signal
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from health_probe.slo.minutes import Seen
from health_probe.slo.moments import minute_of
from yaoki.errors import ConflictError
from yaoki.maintenance import BUCKET as SLO
from yaoki.testing import eventually, patient

from .conftest import START
from .world import TARGET, VANTAGE, FixedClock, World, whole_minute

if TYPE_CHECKING:
    from health_probe.slo.main import Parts

pytestmark = pytest.mark.real

UP, DOWN, UNKNOWN = bytes([Seen.UP]), bytes([Seen.DOWN]), bytes([Seen.UNKNOWN])
FIRST = minute_of(START)


async def later(world: World, parts: Parts, clock: FixedClock, minutes: float, **view: Any) -> int:
    """So many minutes after START a view arrives and a round is done."""
    clock.at = START + timedelta(minutes=minutes)
    await world.see(clock.at, **view)
    return await world.round(parts)


async def test_minutes_are_decided_as_they_are_proven(world: World, clock: FixedClock) -> None:
    """Up while seen, down from the first failing probe to the clearing, unknown while nobody looked."""
    async with world.role(clock) as parts:
        await later(world, parts, clock, 3, observed_since=START)
        failed = START + timedelta(minutes=3, seconds=20)
        await world.fail("i-1", failed)
        await later(world, parts, clock, 5, observed_since=START, state="failed", first_failed_at=failed)
        await world.clear("i-1", failed, START + timedelta(minutes=6, seconds=10))
        await later(world, parts, clock, 8, observed_since=START, since=START + timedelta(minutes=6, seconds=10))
        clock.at = START + timedelta(minutes=12)
        await world.round(parts)

        assert await world.ledger(FIRST, FIRST + 12) == UP * 3 + DOWN * 4 + UP * 1 + UNKNOWN * 2 + bytes(2)
        assert await world.ledger(FIRST - 60, FIRST) == bytes(60), "minutes before the contract are none of it"
        assert await world.events("LedgerCorrected") == []


async def test_late_evidence_corrects_the_past_and_says_so(world: World, clock: FixedClock) -> None:
    """A failure told late makes minutes down, a prober that was cut off proves that it looked; each is an event."""
    async with world.role(clock) as parts:
        await later(world, parts, clock, 1, observed_since=START)
        clock.at = START + timedelta(minutes=9)
        await world.round(parts)
        assert await world.ledger(FIRST, FIRST + 7) == UP + UNKNOWN * 6
        await world.fail("i-1", START + timedelta(minutes=2))
        await world.clear("i-1", START + timedelta(minutes=2), START + timedelta(minutes=4))
        await later(world, parts, clock, 10, observed_since=START, since=START + timedelta(minutes=4))

        assert await world.ledger(FIRST, FIRST + 10) == UP * 2 + DOWN * 2 + UP * 6
        corrections = await world.events("LedgerCorrected")
        assert {(c["first"], c["minutes"], c["before"], c["after"]) for c in corrections} == {
            ("2026-11-02T03:02:00Z", 2, "unknown", "down"),
            ("2026-11-02T03:01:00Z", 1, "unknown", "up"),
            ("2026-11-02T03:04:00Z", 3, "unknown", "up"),
        }
        assert all(c["by"] == "slo-1" and c["cause"] in {"i-1", VANTAGE} for c in corrections)
        again = len(corrections)
        await world.round(parts)
        assert len(await world.events("LedgerCorrected")) == again, "the same evidence corrects once"


async def test_another_instance_goes_on_where_the_last_one_stopped(world: World, clock: FixedClock) -> None:
    """No minute is skipped, no response counted twice, no failure of the time between missed."""
    async with world.role(clock) as parts:
        await later(world, parts, clock, 2, observed_since=START)
    assert await world.responses(FIRST, FIRST + 1) == 0, "the response of a minute that is not over is not counted yet"
    await world.fail("i-1", START + timedelta(minutes=4))
    await world.clear("i-1", START + timedelta(minutes=4), START + timedelta(minutes=5, seconds=30))
    clock.at = START + timedelta(minutes=30)
    await world.see(clock.at, observed_since=START, since=START + timedelta(minutes=5, seconds=30))
    async with world.role(clock, "slo-2") as parts:
        assert await world.round(parts) == 28
        assert await world.ledger(FIRST, FIRST + 31) == UP * 4 + DOWN * 2 + UP * 24 + bytes(1)
    async with world.role(clock, "slo-1") as parts:
        assert await world.round(parts) == 0
        await later(world, parts, clock, 31, observed_since=START)
        assert await world.responses(FIRST, FIRST + 31) == 1


async def test_two_writers_at_once_write_one_ledger(world: World, clock: FixedClock) -> None:
    """Both believe that they are the writer: compare-and-set lets each minute and each response in once."""
    async with world.role(clock, "slo-1") as one, world.role(clock, "slo-2") as two:
        for minute in range(1, 13):
            clock.at = START + timedelta(minutes=minute)
            await world.see(clock.at, observed_since=START)
            await asyncio.gather(one.feeds.refresh(), two.feeds.refresh())
            outcomes = await asyncio.gather(
                one.bookkeeper.round(one.feeds.position),
                two.bookkeeper.round(two.feeds.position),
                return_exceptions=True,
            )
            for parts, outcome in zip((one, two), outcomes, strict=True):
                if isinstance(outcome, ConflictError):
                    await parts.bookkeeper.take_over()
                elif isinstance(outcome, BaseException):
                    raise outcome
        assert await world.ledger(FIRST, FIRST + 12) == UP * 12
        assert await world.responses(FIRST, FIRST + 12) == 11, "one response a minute, the newest minute's is to come"


async def test_years_of_unbroken_results_cost_nothing(world: World, clock: FixedClock) -> None:
    """A view tells of its whole series every time; only the newest part of it is looked at again."""
    ages = START - timedelta(days=3650)
    async with world.role(clock) as parts:
        for minute in range(1, 6):
            await later(world, parts, clock, minute, observed_since=ages)
        await world.fail("i-1", ages)
        await world.clear("i-1", ages, ages + timedelta(minutes=1))
        await later(world, parts, clock, 6, observed_since=ages)

        assert await world.ledger(FIRST, FIRST + 6) == UP * 6
        assert await world.events("LedgerCorrected") == []


async def test_what_is_no_event_and_no_view_stops_nothing(world: World, clock: FixedClock) -> None:
    """Anybody with the right to publish can put nonsense into stream and bucket."""
    async with world.role(clock) as parts:
        await later(world, parts, clock, 1, observed_since=START)
        await world.hand.jetstream.publish("yaoki.evt.probe.orders-api.failure-detected", b"{")
        await world.hand.jetstream.publish("yaoki.evt.probe.orders-api.failure-cleared", b'{"type":"FailureDetected"}')
        await world.hand.kv("health").put("orders-api.prober-9", b"\xff")
        await world.hand.kv("health").put("orders-api.prober-8", b"{}")

        await later(world, parts, clock, 2, observed_since=START)
        await world.fail("i-1", START + timedelta(minutes=2))
        await world.fail("i-2", datetime(3026, 1, 1, tzinfo=UTC))
        await later(world, parts, clock, 4, observed_since=START)

        assert await world.ledger(FIRST, FIRST + 4) == UP * 2 + DOWN * 2


@pytest.mark.parametrize(
    "fault",
    [
        "slo.lease-held:kill",
        "slo.minute-decided:kill",
        "slo.correction-told:kill",
        "slo.alarms-told:kill",
        "slo.window-told:kill",
    ],
)
async def test_a_killed_writer_loses_nothing(world: World, fault: str) -> None:
    """SIGKILL at each point of the writer's round: another instance leads to the same ledger and audit."""
    now = whole_minute(datetime.now(UTC))
    start = now - timedelta(minutes=40)
    first = minute_of(start)
    await world.seed(start)
    async with world.role(FixedClock(now - timedelta(minutes=20)), "slo-0") as parts:
        await world.round(parts)  # nobody was seen: minutes 1 to 18 are unknown
    await world.fail("i-1", start + timedelta(minutes=10))
    await world.clear("i-1", start + timedelta(minutes=10), start + timedelta(minutes=21, seconds=30))
    cleared = start + timedelta(minutes=21, seconds=30)
    await world.see(datetime.now(UTC), observed_since=start - timedelta(hours=1), since=cleared)

    await world.book_window(now + timedelta(days=9), told=False)

    doomed = world.process("slo-1", fault=fault)
    assert await asyncio.to_thread(doomed.wait, patient(25)) == -signal.SIGKILL, (
        world.directory / "slo-1.log"
    ).read_text()
    world.process("slo-2")

    await world.until(first, first + 38, UP * 10 + DOWN * 12 + UP * 16)
    corrections = {(c["first"], c["minutes"], c["before"], c["after"]) for c in await world.events("LedgerCorrected")}
    assert {(minutes, before, after) for _, minutes, before, after in corrections} == {
        (9, "unknown", "up"),
        (8, "unknown", "down"),
    }

    async def announced() -> bool:
        return len(await world.events("MaintenanceAnnounced")) >= 1

    assert await eventually(announced, within=10)


async def test_a_standby_takes_over_and_one_instance_writes_at_a_time(world: World) -> None:
    """The lease names one writer; when it stops the other one carries on with its minutes."""
    now = whole_minute(datetime.now(UTC))
    start = now - timedelta(minutes=10)
    await world.seed(start)
    first = minute_of(start)
    one, two = world.process("slo-1"), world.process("slo-2")
    await world.see(datetime.now(UTC), observed_since=start)
    await world.until(first, first + 10, UP * 10)

    async def holder() -> str:
        entry = await world.hand.kv("leases").get("run.slo.writer")
        assert entry is not None
        return str(entry.value)

    writer = one if "slo-1#" in await holder() else two
    other = "slo-2#" if writer is one else "slo-1#"
    writer.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(writer.wait, 15) == 0

    async def taken() -> bool:
        return other in await holder()

    assert await eventually(taken, within=10)
    entry = await world.hand.kv(SLO).get("head")
    assert entry is not None
    assert TARGET.encode() not in (entry.value or b""), "no outage is left open"
