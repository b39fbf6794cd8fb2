"""What the order service needs to know, from its environment."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec
from yaoki.sdk import Credentials

if TYPE_CHECKING:
    from collections.abc import Mapping


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of one instance.

    Attributes:
        nats: Servers, separated by commas.
        http_host: Where to listen.
        http_port: Where to listen.
        cluster: The PostgreSQL cluster in Yaoki's configuration.
        cache_group: The Redis group in Yaoki's configuration.
    """

    nats: str
    http_host: str
    http_port: int
    cluster: str
    cache_group: str
    credentials: Credentials
    redis_password: str | None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Read `ORDERS_*`.

        Raises:
            KeyError: Names the variable that is missing.
        """
        host, _, port = environment.get("ORDERS_HTTP", "127.0.0.1:18090").rpartition(":")
        return cls(
            nats=environment.get("ORDERS_NATS", "nats://127.0.0.1:14222"),
            http_host=host,
            http_port=int(port),
            cluster=environment.get("ORDERS_CLUSTER", "orders"),
            cache_group=environment.get("ORDERS_CACHE_GROUP", "cache"),
            credentials=Credentials(
                user=environment["ORDERS_DB_USER"],
                password=environment["ORDERS_DB_PASSWORD"],
                database=environment.get("ORDERS_DB_NAME", "orders"),
            ),
            redis_password=environment.get("ORDERS_REDIS_PASSWORD"),
        )
