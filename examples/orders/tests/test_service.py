"""The order service on real PostgreSQL and Redis, and the load that outlives an outage."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import msgspec
import pytest
import uvicorn
from orders.audit import audit
from orders.ledger import Ledger, outages, read_ledger
from orders.load import LoadGenerator
from orders.store import OrderStore, PlaceOrder
from orders.web import build_app, warm
from yaoki.epoch import Epoch
from yaoki.flags import Endpoint, Route, RouteState, route_key
from yaoki.sdk import Cache, Credentials, Database
from yaoki.sdk.routes import RouteWatch
from yaoki.testing import InMemoryKeyValue, eventually, patient
from yaoki_devstack.ports import lease

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from yaoki_devstack.postgres_cluster import PostgresCluster
    from yaoki_devstack.redis import RedisServer
    from yaoki_devstack.server import LocalServer

pytestmark = pytest.mark.real


async def publish(flags: InMemoryKeyValue, cluster: str, server: LocalServer) -> None:
    route = Route(
        cluster=cluster,
        state=RouteState.SERVING,
        epoch=Epoch(1, 1),
        primary=Endpoint(member=server.name, host=server.host, port=server.port),
        since=datetime.now(UTC),
    )
    await flags.put(route_key(cluster), msgspec.json.encode(route))


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    port = lease()
    server = uvicorn.Server(uvicorn.Config(app, "127.0.0.1", port.number, log_level="critical", lifespan="off"))
    task = asyncio.create_task(server.serve())
    await eventually(lambda: server.started)
    yield f"http://127.0.0.1:{port.number}"
    server.should_exit = True
    await task
    port.release()


@pytest.fixture
async def parts(postgres_server: PostgresCluster, redis_server: RedisServer) -> AsyncIterator[tuple[OrderStore, Cache]]:
    flags = InMemoryKeyValue()
    await publish(flags, "orders", postgres_server.primary)
    await publish(flags, "cache", redis_server)
    known = postgres_server.primary.credentials
    await postgres_server.primary.psql(f"GRANT ALL ON SCHEMA public TO {known.app_user}", database=known.database)
    credentials = Credentials(user=known.app_user, password=known.app_password, database=known.database)
    async with (
        Database(RouteWatch(flags, "orders"), credentials) as database,
        Cache(RouteWatch(flags, "cache"), flags, password=redis_server.password, timeout_s=patient(5)) as cache,
    ):
        store = OrderStore(database)
        await store.create_schema()
        yield store, cache


@pytest.fixture
async def url(parts: tuple[OrderStore, Cache]) -> AsyncIterator[str]:
    async with serving(build_app(*parts)) as url:
        yield url


async def test_a_warmed_cache_holds_the_newest_orders_as_they_are_answered(
    parts: tuple[OrderStore, Cache], url: str
) -> None:
    """An older one is left out; what was warmed is what a reader gets."""
    store, cache = parts
    keys = [uuid4() for _ in range(3)]
    for key in keys:
        await store.place(PlaceOrder(key=key, item="lantern", quantity=1))

    assert await warm(store, cache, limit=2) == 2

    async with httpx.AsyncClient(base_url=url, timeout=patient(5)) as http:
        shown = await http.get(f"/orders/{keys[2]}")
    assert await cache.get(str(keys[0])) is None
    assert await cache.get(str(keys[1])) is not None
    assert await cache.get(str(keys[2])) == shown.content


async def test_an_order_is_placed_once_however_often_it_is_sent(url: str) -> None:
    """The client's key makes the repeat harmless."""
    order = {"key": str(uuid4()), "item": "lantern", "quantity": 2}
    async with httpx.AsyncClient(base_url=url, timeout=patient(5)) as http:
        first, second = [await http.post("/orders", json=order) for _ in range(2)]
        shown = await http.get(f"/orders/{order['key']}")
        cached = await http.get(f"/orders/{order['key']}")

    assert (first.status_code, second.status_code) == (201, 200)
    assert shown.json()["quantity"] == 2
    assert cached.json() == shown.json()


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (b"{", "not an order"),
        (b'{"key": "x", "item": "a", "quantity": 1}', "key"),
        (b'{"key": "0192e7a0-0000-7000-8000-000000000001", "item": "a", "quantity": "1"}', "quantity"),
        (b'{"key": "0192e7a0-0000-7000-8000-000000000001", "item": "a", "quantity": 0}', "quantity"),
        (b'{"key": "0192e7a0-0000-7000-8000-000000000001", "item": "a", "quantity": 1, "x": 1}', "x"),
        (b"\xff\xfe", "not an order"),
    ],
)
async def test_what_is_not_an_order_is_refused_with_its_reason(url: str, body: bytes, names: str) -> None:
    """The answer names the field."""
    async with httpx.AsyncClient(base_url=url, timeout=patient(5)) as http:
        response = await http.post("/orders", content=body)

    assert response.status_code == 400
    assert names in response.json()["error"]


async def test_every_acknowledged_order_survives_an_outage(
    url: str, postgres_server: PostgresCluster, tmp_path: Path
) -> None:
    """Clients repeat what was not acknowledged; the audit finds every order in the ledger."""
    file = tmp_path / "ledger"
    with Ledger(file) as ledger:
        load = LoadGenerator(url, ledger, clients=4, rate=200)
        running = asyncio.create_task(load.run())
        await eventually(lambda: len(read_ledger(file)) > 20, within=20)
        await postgres_server.primary.kill()
        before = len(read_ledger(file))
        await postgres_server.primary.start()
        await eventually(lambda: len(read_ledger(file)) > before + 20, within=30)
        load.stop()
        await running

    node = postgres_server.primary
    result = await audit(node.dsn(role="superuser", database=node.credentials.database), read_ledger(file))

    assert result.lost == ()
    assert result.acknowledged == len(read_ledger(file))
    assert outages(read_ledger(file), 0.1), "the outage was not noticed: nothing was tested"


async def test_the_audit_names_what_is_lost(url: str, postgres_server: PostgresCluster, tmp_path: Path) -> None:
    """A deleted order that was acknowledged is found."""
    file = tmp_path / "ledger"
    with Ledger(file) as ledger:
        load = LoadGenerator(url, ledger, clients=2, rate=200)
        running = asyncio.create_task(load.run())
        await eventually(lambda: len(read_ledger(file)) > 5, within=20)
        load.stop()
        await running
    entries = read_ledger(file)
    node = postgres_server.primary
    delete = f"DELETE FROM orders WHERE key = '{entries[2].key}'"  # noqa: S608 - a UUID of this test
    await node.psql(delete, database=node.credentials.database)

    result = await audit(node.dsn(role="superuser", database=node.credentials.database), entries)

    assert result.lost == (entries[2].key,)
