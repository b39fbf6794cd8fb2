"""`api.slo.*` on a real NATS: announcements, refusals, reports, and whatever people type."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from health_probe.slo.handlers import SloHandlers
from yaoki.commands.slo import AnnounceMaintenance, CancelMaintenance, ListMaintenance, SloReport, SloStatus
from yaoki.errors import RejectedError
from yaoki.maintenance import BUCKET, KEY, active_window, decode_windows

from .conftest import START

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from health_probe.slo.main import Parts

    from .world import FixedClock, World

pytestmark = pytest.mark.real
TOKYO = ZoneInfo("Asia/Tokyo")
NIGHT = datetime(2026, 11, 10, 2, 0, tzinfo=TOKYO)


@pytest.fixture
async def served(world: World, clock: FixedClock) -> AsyncIterator[Parts]:
    """A role that answers at the test's time."""
    async with world.role(clock) as parts:
        SloHandlers(parts.levels, parts.desk, "slo-1", lambda: True).serve(world.hand)
        await world.hand.start()
        yield parts


def announce(**more: Any) -> AnnounceMaintenance:
    asked = {
        "targets": ("orders-api",),
        "start": NIGHT,
        "end": NIGHT + timedelta(hours=1),
        "by": "ada",
        "reason": "disk",
    }
    return AnnounceMaintenance(**{**asked, **more})


async def refused(world: World, request: Any) -> str:
    with pytest.raises(RejectedError) as caught:
        await world.hand.request(request)
    return caught.value.message


async def test_a_window_is_announced_listed_read_and_cancelled(world: World, served: Parts, clock: FixedClock) -> None:
    """The whole life of a window that does not happen; the audit has each step once."""
    reply = await world.hand.request(announce())
    assert reply.minutes_left == 180
    assert reply.window.window_id == "20261109t1700-orders-api"
    assert await world.hand.request(announce()) == reply, "a repeat is harmless"

    listed = await world.hand.request(ListMaintenance(target="orders-api"))
    assert [window.window_id for window in listed.windows] == [reply.window.window_id]
    assert len(listed.rules) == 5
    entry = await world.hand.kv(BUCKET).get(KEY)
    assert entry is not None
    windows = decode_windows(entry.value)
    assert active_window(windows, "orders-api", NIGHT) is not None
    assert active_window(windows, "orders-api", NIGHT - timedelta(seconds=1)) is None

    cancelled = await world.hand.request(CancelMaintenance(window_id=reply.window.window_id, by="bob"))
    assert cancelled.window.cancelled_by == "bob"
    assert cancelled.minutes_left == 240
    anew = await world.hand.request(announce())
    assert anew.window.window_id == "20261109t1700-orders-api-2"
    assert [e["window_id"] for e in await world.events("MaintenanceAnnounced")] == [
        "20261109t1700-orders-api",
        "20261109t1700-orders-api-2",
    ]
    assert [e["cancelled_by"] for e in await world.events("MaintenanceCancelled")] == ["bob"]
    assert served is not None
    assert clock.at == START


async def test_a_refused_window_changes_nothing_and_names_every_rule(world: World, served: Parts) -> None:
    """Too late, too early in the day and too long, all at once."""
    start = datetime(2026, 11, 3, 1, 0, tzinfo=TOKYO)

    sentence = await refused(world, announce(start=start, end=start + timedelta(hours=4, minutes=1)))

    assert "rule notice: announced at least 2d before it begins; found 13 h 0 min ahead" in sentence
    assert "rule hours: inside 02:00-06:00 Asia/Tokyo" in sentence
    assert "rule monthly: at most 240 min" in sentence
    assert "nothing was announced" in sentence
    assert await served.desk.windows() == ()
    assert await world.events("MaintenanceAnnounced") == []


async def test_late_edits_and_late_cancellations_are_refused(world: World, served: Parts, clock: FixedClock) -> None:
    """What was announced stands; it can be cancelled until it begins."""
    window = (await world.hand.request(announce(window_id="disk-1"))).window

    assert "rule immutable" in await refused(world, announce(window_id="disk-1", end=NIGHT + timedelta(hours=2)))
    clock.at = NIGHT.astimezone(UTC)
    sentence = await refused(world, CancelMaintenance(window_id="disk-1", by="bob"))
    assert "rule immutable: a window can be cancelled before it begins; disk-1 began at 2026-11-09T17:00:00" in sentence
    assert await served.desk.windows() == (window,) or (await served.desk.windows())[0].cancelled_at is None


async def test_many_at_once_cannot_announce_more_than_the_month_allows(world: World, served: Parts) -> None:
    """Twelve people announce an hour each; four of them get it."""
    asked = [announce(start=NIGHT + timedelta(days=day), end=NIGHT + timedelta(days=day, hours=1)) for day in range(12)]

    outcomes = await asyncio.gather(*(world.hand.request(one) for one in asked), return_exceptions=True)

    accepted = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    assert 1 <= len(accepted) <= 4
    assert sum(window.minutes for window in await served.desk.windows()) == 60 * len(accepted)
    assert all(isinstance(outcome, Exception) for outcome in outcomes if outcome not in accepted)


@pytest.mark.parametrize(
    ("verb", "body", "code", "words"),
    [
        ("announce", b"", "400", "by"),
        ("announce", b"{", "400", ""),
        ("announce", b'{"start":"tomorrow","end":"later","by":"ada"}', "400", "start"),
        ("announce", b'{"start":"2026-11-10T02:00:00","end":"2026-11-10T03:00:00","by":"ada"}', "400", "has no zone"),
        ("announce", b'{"start":"2026-11-10T02:00:00+09:00","end":"2026-11-10T03:00:00+09:00","by":""}', "400", "by"),
        (
            "announce",
            b'{"targets":["orders-apo"],"start":"2026-11-10T02:00:00+09:00","end":"2026-11-10T03:00:00+09:00","by":"a"}',
            "404",
            "'orders-apo' is not in the configuration; there are: orders-api, orders-db",
        ),
        (
            "announce",
            b'{"window_id":"a.>","start":"2026-11-10T02:00:00+09:00","end":"2026-11-10T03:00:00+09:00","by":"ada"}',
            "400",
            "window_id 'a.>' is not a valid name",
        ),
        ("cancel", b'{"window_id":"nothing","by":"ada"}', "404", "no window 'nothing'"),
        ("list", b'{"targets":"x"}', "400", "targets"),
        ("list", b'{"target":"x"}', "404", "'x' is not in the configuration"),
        ("status", b'{"service_name":"order"}', "404", "closest names: orders"),
        ("report", b'{"service_name":"orders","month":"2026-13"}', "400", "expected a calendar month such as 2026-11"),
        ("report", b'{"service_name":"orders","month":"2027-01"}', "400", "has not begun"),
        ("report", b'{"service_name":"orders","format":"pdf"}', "400", "format"),
        ("report", b"\xff\xfe", "400", ""),
    ],
)
async def test_wrong_input_gets_a_precise_error(  # noqa: PLR0917 - one row of the table
    world: World, served: Parts, verb: str, body: bytes, code: str, words: str
) -> None:
    """As typed after `nats req`: the answer says what was found and what was expected; nothing changes."""
    message = await world.hand.client.request(f"yaoki.api.slo.{verb}", body, timeout=5)

    assert (message.headers or {})["Nats-Service-Error-Code"] == code
    assert words in json.loads(message.data)["error"]
    assert await served.desk.windows() == ()


async def test_status_and_report_of_a_month_with_everything_in_it(
    world: World, served: Parts, clock: FixedClock
) -> None:
    """Maintenance with an overrun, a failure, its budget, its alarms, and the document."""
    await world.hand.request(announce(window_id="disk-1"))
    begin = NIGHT.astimezone(UTC) - timedelta(minutes=30)
    clock.at = begin
    await served.bookkeeper.take_over()
    clock.at = begin + timedelta(minutes=31)
    await world.see(clock.at, observed_since=begin)
    await world.round(served)
    failed = begin + timedelta(minutes=40)
    await world.fail("i-1", failed)
    clock.at = begin + timedelta(minutes=100)
    await world.see(clock.at, observed_since=begin, state="failed", first_failed_at=failed)
    await world.round(served)
    cleared = begin + timedelta(minutes=105)
    await world.clear("i-1", failed, cleared)
    clock.at = begin + timedelta(minutes=120)
    await world.see(clock.at, observed_since=begin, since=cleared)
    await world.round(served)

    status = (await world.hand.request(SloStatus(service_name="orders"))).services[0]
    assert msgspec.structs.asdict(status.minutes) == {"up": 45, "down": 15, "maintenance": 60, "unknown": 0}
    assert status.availability == 75.0
    assert status.raw_availability == pytest.approx(100 * 55 / 120)
    assert status.budget_used == 15

    burning = await world.events("BudgetBurning")
    assert [event["rule"] for event in burning] == ["14.4x 1h/5m", "6x 6h/30m"]
    assert [event["rule"] for event in await world.events("BudgetRecovered")] == ["14.4x 1h/5m"]
    overruns = await world.events("MaintenanceOverrun")
    assert [(event["window_id"], event["overrunning"]) for event in overruns] == [("disk-1", ["orders-api"])]
    assert len(await world.events("MaintenanceStarted")) == len(await world.events("MaintenanceEnded")) == 1

    made = await world.hand.request(SloReport(service_name="orders", month="2026-11", format="html"))
    assert made.credit_percent == 10.0
    assert made.overrun_minutes == {"disk-1": 15}
    assert [incident.seconds for incident in made.incidents] == [65 * 60]
    assert made.rto_met is True
    assert not made.complete
    assert made.document.startswith("<!doctype html>")
    assert "<svg" in made.document
    assert "http://" not in made.document.replace("http://www.w3.org/2000/svg", "")
    text = (await world.hand.request(SloReport(service_name="orders", format="markdown"))).document
    assert "| Availability | 99.5 % | 75 % | missed |" in text


async def test_a_closed_month_is_told_once(world: World, clock: FixedClock) -> None:
    """An hour after midnight in Tokyo, by whichever instance, also after a restart."""
    begin = datetime(2026, 11, 30, 14, 0, tzinfo=UTC)
    for instance, minutes in (("slo-1", (0, 5, 61)), ("slo-1", (125,)), ("slo-2", (130,)), ("slo-1", (140, 141))):
        clock.at = begin + timedelta(minutes=minutes[0])
        async with world.role(clock, instance) as parts:
            for minute in minutes:
                clock.at = begin + timedelta(minutes=minute)
                await world.see(clock.at, observed_since=begin)
                await world.round(parts)

    closed = await world.events("ServiceMonthClosed")
    assert [(event["service"], event["month"], event["met"]) for event in closed] == [("orders", "2026-11", True)]
