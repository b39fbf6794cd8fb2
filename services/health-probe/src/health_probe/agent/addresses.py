"""Where servers listen."""

from __future__ import annotations

import msgspec


class ServerAddress(msgspec.Struct, frozen=True):
    """Where a PostgreSQL listens."""

    host: str
    port: int
