"""Compares what was acknowledged with what is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID  # noqa: TC003 - msgspec reads the annotation at run time

import asyncpg
import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orders.ledger import Acknowledged

_BATCH = 10_000


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """The result.

    Attributes:
        acknowledged: Orders that clients were told are stored.
        stored: Orders in the database, those included that nobody was told of.
        lost: Acknowledged orders that are not stored.
    """

    acknowledged: int
    stored: int
    lost: tuple[UUID, ...]


async def audit(dsn: str, entries: Sequence[Acknowledged]) -> Audit:
    """Look every acknowledged order up in the database at `dsn`."""
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        stored = await connection.fetchval("SELECT count(*) FROM orders")
        lost: list[UUID] = []
        for start in range(0, len(entries), _BATCH):
            keys = [entry.key for entry in entries[start : start + _BATCH]]
            rows = await connection.fetch(
                "SELECT key FROM unnest($1::uuid[]) AS key WHERE key NOT IN (SELECT key FROM orders)", keys
            )
            lost.extend(row["key"] for row in rows)
    finally:
        await connection.close()
    return Audit(acknowledged=len(entries), stored=int(stored), lost=tuple(lost))
