"""Orders in PostgreSQL.

A client chooses the key of its order, so that it may send the same order again when it does not know whether the
first attempt was stored: the second one finds the first and changes nothing.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - msgspec reads the annotation at run time
from typing import TYPE_CHECKING, Annotated
from uuid import UUID  # noqa: TC003 - as above

import msgspec

if TYPE_CHECKING:
    from yaoki.sdk import Database

SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
    key uuid PRIMARY KEY,
    item text NOT NULL,
    quantity integer NOT NULL CHECK (quantity > 0),
    placed_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS orders_placed_at ON orders (placed_at)
"""


class PlaceOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a client sends."""

    key: UUID
    item: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    quantity: Annotated[int, msgspec.Meta(gt=0, le=1_000_000)]


class PlacedOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored."""

    key: UUID
    item: str
    quantity: int
    placed_at: datetime


class OrderStore:
    """Reads and writes orders."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create_schema(self) -> None:
        """Create the table if it is not there."""
        async with self._database.primary(within_s=60) as connection:
            await connection.execute(SCHEMA)

    async def place(self, order: PlaceOrder) -> bool:
        """Store an order; False when it was there already. Returns only when it is committed."""
        async with self._database.primary() as connection:
            status = await connection.execute(
                "INSERT INTO orders (key, item, quantity) VALUES ($1, $2, $3) ON CONFLICT (key) DO NOTHING",
                order.key,
                order.item,
                order.quantity,
            )
        return status == "INSERT 0 1"

    async def newest(self, limit: int) -> list[PlacedOrder]:
        """The newest orders, newest first."""
        async with self._database.replica() as connection:
            rows = await connection.fetch(
                "SELECT key, item, quantity, placed_at FROM orders ORDER BY placed_at DESC LIMIT $1", limit
            )
        return [PlacedOrder(**dict(row)) for row in rows]

    async def find(self, key: UUID) -> PlacedOrder | None:
        """Read an order from a replica, and from the primary when the replica does not have it (yet)."""
        for source in (self._database.replica, self._database.primary):
            async with source() as connection:
                row = await connection.fetchrow("SELECT key, item, quantity, placed_at FROM orders WHERE key = $1", key)
            if row:
                return PlacedOrder(**dict(row))
        return None
