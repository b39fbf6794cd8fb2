"""The order service's HTTP interface."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg
import msgspec
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
from yaoki.errors import TransientError
from yaoki.sdk import CONNECTION_LOST

from orders.store import OrderStore, PlacedOrder, PlaceOrder

if TYPE_CHECKING:
    from starlette.requests import Request
    from yaoki.sdk import Cache

_CACHE_S = 60
# Whether the write took effect is unknown to us; the client repeats it with the same key.
_OUTCOME_UNKNOWN = (TransientError, asyncpg.PostgresError, *CONNECTION_LOST)


def build_app(store: OrderStore, cache: Cache) -> Starlette:
    """The application: place an order, read an order, say that the process lives."""

    async def place(request: Request) -> Response:
        try:
            order = msgspec.json.decode(await request.body(), type=PlaceOrder)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            return _json({"error": f"not an order: {error}"}, 400)
        try:
            created = await store.place(order)
        except _OUTCOME_UNKNOWN as error:
            return _json({"error": f"not acknowledged, repeat with the same key: {type(error).__name__}"}, 503)
        return _json({"key": order.key, "created": created}, 201 if created else 200)

    async def show(request: Request) -> Response:
        try:
            key = UUID(request.path_params["key"])
        except ValueError:
            return _json({"error": "the key of an order is a UUID"}, 400)
        try:
            if (cached := await cache.get(str(key))) is not None:
                return Response(cached, media_type="application/json")
            order: PlacedOrder | None = await store.find(key)
        except _OUTCOME_UNKNOWN as error:
            return _json({"error": f"the database is not available: {type(error).__name__}"}, 503)
        if order is None:
            return _json({"error": f"no order {key}"}, 404)
        return Response(await _remember(cache, order), media_type="application/json")

    async def health(_: Request) -> Response:
        return _json({"status": "alive"}, 200)

    return Starlette(
        routes=[
            Route("/orders", place, methods=["POST"]),
            Route("/orders/{key}", show),
            Route("/health", health),
        ]
    )


async def warm(store: OrderStore, cache: Cache, *, limit: int = 500) -> int:
    """Load the newest orders, which customers look at first, into the cache; how many it took."""
    orders = await store.newest(limit)
    for order in orders:
        await _remember(cache, order)
    return len(orders)


async def _remember(cache: Cache, order: PlacedOrder) -> bytes:
    """Keep an order as it is answered."""
    body = msgspec.json.encode(order)
    await cache.put(str(order.key), body, ttl_s=_CACHE_S)
    return body


def _json(value: object, status: int) -> Response:
    return Response(msgspec.json.encode(value), status_code=status, media_type="application/json")
