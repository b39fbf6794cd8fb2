"""How requests fare: counted by the middleware, sent over a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route
from yaoki.clock import SystemClock
from yaoki.live import RequestsObserved
from yaoki.messaging import Messaging, NatsSettings
from yaoki.sdk import RequestStats
from yaoki.sdk.requests import RequestCounts, RequestStatsMiddleware
from yaoki.testing import eventually

if TYPE_CHECKING:
    from nats.aio.msg import Msg
    from starlette.requests import Request


async def answer(request: Request) -> PlainTextResponse:
    if request.path_params["what"] == "raise":
        raise RuntimeError("broken")
    return PlainTextResponse("", status_code=int(request.path_params["what"]))


async def stream(_request: Request) -> StreamingResponse:
    return StreamingResponse(iter([b"a", b"b"]), status_code=200)


APP = Starlette(
    routes=[Route("/health", lambda _: PlainTextResponse("")), Route("/stream", stream), Route("/{what}", answer)]
)


def counts() -> RequestCounts:
    return RequestCounts("orders", "orders-1", SystemClock())


async def ask(counted: RequestCounts | RequestStats, *paths: str) -> None:
    app: Any = RequestStatsMiddleware(APP, counted, exempt=("/health",))
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://orders") as client:
        for path in paths:
            await client.get(path)


async def test_requests_are_counted_and_failed_ones_told_apart() -> None:
    counted = counts()

    await ask(counted, "/200", "/404", "/stream", "/500", "/503", "/raise", "/health")
    report = counted.close_period()

    assert report is not None
    assert (report.requests, report.errors) == (6, 3)
    assert sum(report.buckets.values()) == 6
    assert report.total_ms > 0


def test_a_period_begins_empty_and_reports_silence_as_well() -> None:
    counted = counts()
    counted.observe(0.25)
    first, second = counted.close_period(), counted.close_period()

    assert first is not None
    assert (first.requests, first.total_ms) == (1, 250.0)
    assert second is not None
    assert (second.requests, second.errors, second.buckets) == (0, 0, {})
    assert second.period_s > 0


@pytest.mark.real
async def test_reports_are_sent_every_period_and_once_more_at_the_end(shared_nats_server: Any) -> None:
    settings = NatsSettings(servers=(shared_nats_server.url,), require_sync=False)
    heard: list[RequestsObserved] = []

    async def hear(message: Msg) -> None:
        heard.append(msgspec.json.decode(message.data, type=RequestsObserved))

    async with Messaging.connect(settings, service="orders", instance="orders-1") as messaging:
        await messaging.client.subscribe(messaging.subjects.live("requests", "orders"), cb=hear)
        async with RequestStats(messaging, "orders", period_s=0.05) as stats:
            await ask(stats, "/200", "/500")
            await eventually(lambda: sum(one.requests for one in heard) == 2)
            await eventually(lambda: len(heard) >= 3)
            stats.observe(1.0)
        await eventually(lambda: sum(one.requests for one in heard) == 3)

    assert {(one.application, one.instance) for one in heard} == {("orders", "orders-1")}
    assert sum(one.errors for one in heard) == 1


@pytest.mark.real
async def test_an_outage_of_nats_fails_no_request(nats_server: Any) -> None:
    settings = NatsSettings(servers=(nats_server.url,), require_sync=False)
    async with (
        Messaging.connect(settings, service="orders", instance="orders-1") as messaging,
        RequestStats(messaging, "orders", period_s=0.02) as stats,
    ):
        await nats_server.kill()
        await eventually(lambda: not messaging.connected)
        await ask(stats, "/200", "/200")
