"""The kind `heartbeat`: the rule for any history, and check-ins over NATS and HTTP on a real server."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest
from health_probe.adapters.intake import Intake
from health_probe.handlers import CheckInPage
from health_probe.heartbeats import Expectation, HeartbeatBook, Listening, Standing, extended, judge
from health_probe.probes.heartbeat import HeartbeatCheck
from health_probe.traffic import TrafficBook
from hypothesis import given
from hypothesis import strategies as st
from yaoki.clock import SystemClock
from yaoki.commands.probe import CheckIn
from yaoki.config import Address, Secret
from yaoki.errors import ErrorCode, RejectedError
from yaoki.events.probe import ErrorClass, ProbeStatus
from yaoki.http import HttpServer
from yaoki.live import RequestsObserved
from yaoki.messaging import Messaging, NatsSettings
from yaoki.provision import provision
from yaoki.testing import eventually
from yaoki.topology import TOPOLOGY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

START = datetime(2026, 1, 1, tzinfo=UTC)
PROMISE = Expectation(every=timedelta(seconds=60), grace=timedelta(seconds=30))
STEP = timedelta(seconds=5)
TOKEN = "correct-horse-battery-staple"


def seconds(number: float) -> datetime:
    return START + timedelta(seconds=number)


def always(until: datetime) -> Listening:
    """Somebody has listened from `START` on."""
    return Listening(since=START - timedelta(days=1), until=until)


@given(st.floats(0, 90))
def test_a_target_is_present_until_its_time_and_grace_are_over(age_s: float) -> None:
    now = seconds(age_s)

    assert judge(PROMISE, START, always(now), now) is Standing.PRESENT


@given(st.floats(90.001, 100_000))
def test_a_silent_target_is_missed_while_somebody_listens(age_s: float) -> None:
    now = seconds(age_s)

    assert judge(PROMISE, START, always(now), now) is Standing.MISSED


@given(st.floats(0, 100_000), st.floats(15.001, 100_000))
def test_while_nobody_listens_there_is_no_verdict(age_s: float, deaf_s: float) -> None:
    now = seconds(age_s)

    assert judge(PROMISE, START, always(now - timedelta(seconds=deaf_s)), now) is Standing.UNHEARD


presence = st.lists(st.booleans(), min_size=1, max_size=200)


@given(presence, st.integers(1, 18))
def test_a_target_that_keeps_its_promise_is_never_missed_whatever_happens_to_the_probers(
    there: list[bool], every_steps: int
) -> None:
    """It checks in often enough; what it says while no prober is there is lost."""
    last, listening = START, Listening(since=START, until=START)
    since: datetime | None = START
    for step, somebody in enumerate(there, start=1):
        now = START + step * STEP
        since = (since or now) if somebody else None
        if since is not None:
            listening = extended(listening, since, now)
            if step % every_steps == 0:
                last = now
        assert judge(PROMISE, last, listening, now) is not Standing.MISSED


@given(presence)
def test_a_dead_target_is_missed_one_period_after_somebody_listens_without_a_break(there: list[bool]) -> None:
    listening = Listening(since=START, until=START)
    now, since = START, None
    for somebody in [*there, *[True] * (90 // 5 + 1)]:
        now += STEP
        since = (since or now) if somebody else None
        listening = listening if since is None else extended(listening, since, now)

    assert judge(PROMISE, START, listening, now) is Standing.MISSED


def test_what_is_lost_in_a_short_restart_of_the_prober_is_not_held_against_a_target() -> None:
    before = always(seconds(88))
    back = extended(before, seconds(91), seconds(92))

    assert judge(PROMISE, START, extended(before, START, seconds(92)), seconds(92)) is Standing.MISSED
    assert judge(PROMISE, START, back, seconds(92)) is Standing.UNCERTAIN
    assert judge(PROMISE, START, before, seconds(92)) is Standing.UNCERTAIN, "who listened at the last moment?"


@given(st.floats(0, 1000), st.floats(0, 15))
def test_probers_that_overlap_leave_no_gap(overlap_s: float, later_s: float) -> None:
    until = seconds(50)
    listening = extended(always(until), until - timedelta(seconds=overlap_s), until + timedelta(seconds=later_s))

    assert listening.since == always(until).since


def test_a_clock_that_jumps_an_hour_ahead_misses_nobody() -> None:
    hour = timedelta(hours=1)
    jumped = START + hour

    assert judge(PROMISE, START, always(START), jumped) is Standing.UNHEARD
    assert judge(PROMISE, START, extended(always(START), START, jumped), jumped) is Standing.UNCERTAIN


def book_with(**targets: Expectation) -> HeartbeatBook:
    book = HeartbeatBook()
    for name, expectation in targets.items():
        book.expect(name, expectation)
    return book


def test_while_a_clock_is_an_hour_behind_a_silent_target_is_not_present() -> None:
    assert judge(PROMISE, START, always(START), START - timedelta(hours=1)) is Standing.UNHEARD


def test_a_wrong_name_or_token_is_refused_with_what_would_be_right() -> None:
    book = book_with(nightly=msgspec.structs.replace(PROMISE, token=Secret("env:TOKEN", TOKEN)))

    with pytest.raises(RejectedError, match="closest names: nightly") as unknown:
        book.admit("nightli", TOKEN)
    assert unknown.value.code is ErrorCode.NOT_FOUND
    for token in (None, "", TOKEN + "x", "\udcff"):
        with pytest.raises(RejectedError, match=r"targets\.nightly\.token") as refused:
            book.admit("nightly", token)
        assert refused.value.code is ErrorCode.NOT_ALLOWED
        assert TOKEN not in str(refused.value)
    assert book.admit("nightly", TOKEN).patience == PROMISE.patience


@asynccontextmanager
async def prober(
    url: str, instance: str, book: HeartbeatBook, traffic: TrafficBook | None = None
) -> AsyncIterator[Any]:
    """A prober's intake, running."""
    settings = NatsSettings(servers=(url,), require_sync=False)
    async with Messaging.connect(settings, service="health-probe", instance=instance) as messaging:
        intake = Intake(messaging, book, traffic or TrafficBook(), SystemClock())
        await intake.serve()
        await messaging.start()
        running = asyncio.create_task(intake.run())
        try:
            yield messaging, intake
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


def check(book: HeartbeatBook, name: str = "nightly") -> HeartbeatCheck:
    return HeartbeatCheck(name=name, book=book, patience=PROMISE.patience, clock=SystemClock())


async def provisioned(server: Any) -> str:
    settings = NatsSettings(servers=(server.url,), require_sync=False)
    await provision(settings, TOPOLOGY)
    return str(server.url)


@pytest.mark.real
async def test_check_ins_reach_every_prober_and_survive_their_restart(run: Any, nats_server: Any) -> None:
    url = await provisioned(nats_server)
    soon = Expectation(every=timedelta(seconds=1), grace=timedelta(seconds=1.5))
    first, second = book_with(nightly=soon), book_with(nightly=soon)
    before = await run(check(first))
    async with prober(url, "probe-1", first) as (one, _), prober(url, "probe-2", second):
        await eventually(lambda: _known(run, check(first)))
        await eventually(lambda: _known(run, check(second)))
        reply = await one.request(CheckIn(target="nightly"))
        await eventually(lambda: first.last("nightly") == second.last("nightly") == reply.at)
        missed = await eventually(lambda: _failed(run, check(second)), within=15.0)
        await one.client.publish(f"{one.subjects.prefix}.live.check-in.nightly", b"")
        await eventually(lambda: _healthy(run, check(second)), within=15.0)
    third = book_with(nightly=soon)
    async with prober(url, "probe-3", third):
        await eventually(lambda: third.last("nightly") == second.last("nightly"))
        missed_again = await eventually(lambda: _failed(run, check(third)), within=15.0)

    assert (before.status, before.error_class) == (ProbeStatus.UNKNOWN, ErrorClass.LOCAL)
    assert (missed.error_class, missed.detail[:15]) == (ErrorClass.TIMEOUT, "no check-in for")
    assert missed_again.facts["last_check_in"] == second.last("nightly").isoformat()  # type: ignore[union-attr]  # it was heard


async def _known(run: Any, heartbeat: HeartbeatCheck) -> bool:
    return (await run(heartbeat)).status is not ProbeStatus.UNKNOWN


async def _failed(run: Any, heartbeat: HeartbeatCheck) -> Any:
    result = await run(heartbeat)
    return result if result.status is ProbeStatus.UNHEALTHY else None


async def _healthy(run: Any, heartbeat: HeartbeatCheck) -> Any:
    result = await run(heartbeat)
    return result if result.status is ProbeStatus.HEALTHY else None


@asynccontextmanager
async def _running(server: HttpServer) -> AsyncIterator[None]:
    await server.start()
    try:
        yield
    finally:
        await server.stop()


@pytest.mark.real
async def test_check_ins_over_http_are_acknowledged_or_refused(nats_server: Any) -> None:
    url = await provisioned(nats_server)
    book = book_with(nightly=msgspec.structs.replace(PROMISE, token=Secret("env:TOKEN", TOKEN)))
    page = CheckInPage()
    server = HttpServer(page.routes, Address("127.0.0.1", 0))
    async with _running(server), httpx.AsyncClient(base_url=server.url) as http:
        early = await http.post("/heartbeat/nightly")
        async with prober(url, "probe-1", book) as (_, intake):
            page.open(intake.check_in)
            stored = await http.post("/heartbeat/nightly", headers={"Authorization": f"Bearer {TOKEN}"})
            closed = await http.post("/heartbeat/nightly", headers={"Authorization": "Bearer no"})
            unknown = await http.post("/heartbeat/daily")
            read = await http.get("/heartbeat/nightly")

    statuses = [answer.status_code for answer in (early, stored, closed, unknown, read)]
    assert statuses == [503, 200, 401, 404, 405]
    assert book.last("nightly") == datetime.fromisoformat(stored.json()["at"])
    assert "closest names: nightly" in unknown.json()["message"]


@pytest.mark.real
async def test_reports_of_requests_are_taken_in_and_bad_ones_passed_over(nats_server: Any) -> None:
    url = await provisioned(nats_server)
    traffic = TrafficBook()
    traffic.expect("orders", 300.0)
    good = RequestsObserved(
        application="orders", instance="orders-1", at=START, period_s=10.0, requests=7, errors=1, total_ms=70.0
    )
    negative = msgspec.json.encode(good).replace(b'"requests":7', b'"requests":-7')
    async with prober(url, "probe-1", HeartbeatBook(), traffic) as (messaging, _):
        subject = f"{messaging.subjects.prefix}.live.requests.orders"
        for body in (b"", b"{", b"\xff", b'{"requests": 1}', negative, msgspec.json.encode(good)):
            await messaging.client.publish(subject, body)

        now = SystemClock().monotonic
        await eventually(lambda: traffic.within("orders", now=now(), length_s=300.0).reports)

    assert traffic.within("orders", now=now(), length_s=300.0).requests == 7
