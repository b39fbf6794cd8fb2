"""503 while maintenance mode is on."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import httpx
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from structlog.testing import capture_logs
from yaoki.flags import Switch, maintenance_key
from yaoki.sdk import MaintenanceMiddleware
from yaoki.testing import InMemoryKeyValue, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request


async def _ok(_: Request) -> PlainTextResponse:
    return PlainTextResponse("served")


@pytest.fixture
def flags() -> InMemoryKeyValue:
    return InMemoryKeyValue()


@pytest.fixture
async def http(flags: InMemoryKeyValue) -> AsyncIterator[httpx.AsyncClient]:
    app = MaintenanceMiddleware(
        Starlette(routes=[Route("/orders", _ok), Route("/health", _ok)]), flags=flags, application="orders"
    )
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://orders") as client:
        yield client
    await app.stop()


async def turn(flags: InMemoryKeyValue, scope: str, *, on: bool) -> None:
    switch = Switch(on=on, by="run-1", reason="restoring", since=datetime.now(UTC), retry_after_s=17)
    await flags.put(maintenance_key(scope), msgspec.json.encode(switch))


async def answers(http: httpx.AsyncClient, status: int) -> bool:
    return (await http.get("/orders")).status_code == status


@pytest.mark.parametrize("scope", ["all", "orders"])
async def test_requests_are_refused_while_the_switch_is_on(
    flags: InMemoryKeyValue, http: httpx.AsyncClient, scope: str
) -> None:
    """With a reason and the time after which to try again; and served again afterwards."""
    assert (await http.get("/orders")).text == "served"

    await turn(flags, scope, on=True)
    await eventually(lambda: answers(http, 503))
    response = await http.get("/orders")
    assert response.headers["retry-after"] == "17"
    assert response.json()["reason"] == "restoring"

    await turn(flags, scope, on=False)
    await eventually(lambda: answers(http, 200))


async def test_health_checks_are_served_all_along(flags: InMemoryKeyValue, http: httpx.AsyncClient) -> None:
    """A supervisor must not restart what is merely under maintenance."""
    await turn(flags, "all", on=True)
    await eventually(lambda: answers(http, 503))

    assert (await http.get("/health")).status_code == 200


async def test_another_applications_switch_means_nothing_here(flags: InMemoryKeyValue, http: httpx.AsyncClient) -> None:
    """Scopes are separate; an unreadable switch changes nothing."""
    await turn(flags, "billing", on=True)
    await flags.put(maintenance_key("orders"), b"\xff not a switch")
    await turn(flags, "all", on=True)
    await eventually(lambda: answers(http, 503))
    await turn(flags, "all", on=False)

    await eventually(lambda: answers(http, 200))


async def test_a_misspelt_switch_is_doubted_in_the_log(flags: InMemoryKeyValue, http: httpx.AsyncClient) -> None:
    """It turns nothing on, and whoever wrote it finds out which keys are obeyed; quite another name says nothing."""
    with capture_logs() as lines:
        await turn(flags, "ordres", on=True)
        await turn(flags, "billing", on=True)
        await turn(flags, "all", on=True)
        await eventually(lambda: answers(http, 503))

    doubts = [line for line in lines if line["log_level"] == "warning"]
    assert [(line["key"], line["obeyed"]) for line in doubts] == [
        ("maintenance.ordres", ["maintenance.all", "maintenance.orders"])
    ]
