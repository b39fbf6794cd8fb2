"""Clients of a Redis server, by redis-py."""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import redis.asyncio
import redis.exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from yaoki.errors import TransientError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from yaoki.config.clusters import RedisGroup
    from yaoki.flags import Endpoint

_TIMEOUT_S = 2.0
_BATCH = 1000
_TTL_S = 60


class RedisConnections:
    """See `recovery.ports.RedisClients`."""

    async def kill_normal(self, group: RedisGroup, endpoint: Endpoint) -> int:
        """See `RedisClients.kill_normal`."""
        async with _client(group, endpoint) as client:
            return int(await client.client_kill_filter(_type="normal", skipme=True))

    async def delete_matching(self, group: RedisGroup, endpoint: Endpoint, match: str) -> int:
        """See `RedisClients.delete_matching`. SCAN may name a key twice; UNLINK counts it once."""
        deleted = cursor = 0
        async with _client(group, endpoint) as client:
            while True:
                cursor, keys = await client.scan(cursor, match=match, count=_BATCH)
                if keys:
                    deleted += int(await client.unlink(*keys))
                if cursor == 0:
                    return deleted

    async def write_back(self, group: RedisGroup, endpoint: Endpoint) -> None:
        """See `RedisClients.write_back`. The key is one of the probes', which their ACL user may write."""
        key, nonce = f"yaoki:probe:{secrets.token_hex(8)}", secrets.token_hex(8)
        async with _client(group, endpoint) as client:
            await client.set(key, nonce, ex=_TTL_S)
            read = await client.get(key)
            await client.delete(key)
        if read != nonce.encode():
            raise TransientError(f"Redis at {endpoint.host}:{endpoint.port} did not give back the key that it took")


@asynccontextmanager
async def _client(group: RedisGroup, endpoint: Endpoint) -> AsyncIterator[redis.asyncio.Redis]:
    """A fresh connection; driver errors become TransientError."""
    client = redis.asyncio.Redis(
        host=endpoint.host,
        port=endpoint.port,
        username=group.user,
        password=group.password.reveal() if group.password else None,
        socket_connect_timeout=_TIMEOUT_S,
        socket_timeout=_TIMEOUT_S,
        single_connection_client=True,
        retry=Retry(NoBackoff(), 0),  # redis-py would try a dead server for seconds; the run tries again itself
    )
    try:
        yield client
    except (OSError, TimeoutError, redis.exceptions.RedisError) as error:
        raise TransientError(f"Redis at {endpoint.host}:{endpoint.port}: {error}") from error
    finally:
        await client.aclose()
