"""The HTTP server inside a service's loop."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from yaoki.config import Address
from yaoki.errors import FatalError
from yaoki.http import HttpServer, standard_routes

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

FREE = Address("127.0.0.1", 0)


async def test_readiness_follows_its_reasons() -> None:
    """503 with the reasons while there are any; liveness does not care."""
    reasons = ["NATS is not connected"]
    server = HttpServer(standard_routes(lambda: reasons), FREE)
    await server.start()
    try:
        async with httpx.AsyncClient(base_url=server.url) as client:
            not_ready = await client.get("/ready")
            alive = await client.get("/live")
            reasons.clear()
            ready = await client.get("/ready")
    finally:
        await server.stop()

    assert (not_ready.status_code, not_ready.json()["reasons"]) == (503, ["NATS is not connected"])
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    assert alive.json() == {"status": "alive"}


async def test_metrics_are_served_in_prometheus_text() -> None:
    """With those of the process itself."""
    server = HttpServer(standard_routes(list), FREE)
    await server.start()
    try:
        async with httpx.AsyncClient(base_url=server.url) as client:
            answer = await client.get("/metrics")
    finally:
        await server.stop()

    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert "process_cpu_seconds_total" in answer.text
    assert "server" not in answer.headers


async def test_signals_stay_with_the_service() -> None:
    """Uvicorn would take SIGTERM for itself and end the process half way."""
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    server = HttpServer(standard_routes(list), FREE)
    await server.start()
    try:
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    finally:
        await server.stop()


async def test_stopping_answers_what_is_being_answered() -> None:
    """A request in flight gets its answer; a later one no connection."""
    entered, release = asyncio.Event(), asyncio.Event()

    async def slow(_request: Request) -> Response:
        entered.set()
        await release.wait()
        return PlainTextResponse("done")

    server = HttpServer([Route("/slow", slow)], FREE)
    await server.start()
    async with httpx.AsyncClient(base_url=server.url) as client:
        in_flight = asyncio.create_task(client.get("/slow"))
        await entered.wait()
        stopping = asyncio.create_task(server.stop())
        release.set()
        assert (await in_flight).text == "done"
        await stopping
        with pytest.raises(httpx.ConnectError):
            await client.get("/slow")
    await server.stop()


async def test_an_address_in_use_is_said_with_what_to_do() -> None:
    """No traceback of a socket."""
    first = HttpServer(standard_routes(list), FREE)
    await first.start()
    try:
        with pytest.raises(FatalError, match=rf"cannot listen on {first.address} .*in use"):
            await HttpServer(standard_routes(list), first.address).start()
    finally:
        await first.stop()
