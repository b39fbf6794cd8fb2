"""Sessions of a PostgreSQL server, by asyncpg."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg
from yaoki.errors import RejectedError, TransientError
from yaoki.flags import Endpoint
from yaoki.sdk.pools import CONNECTION_LOST

from recovery.ports import Terminated

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from yaoki.config.clusters import PostgresCluster

_CONNECT_S = 2.0
_QUERY_S = 3.0
_DEFAULT_PORT = 5432
_KINDS = ("idle_in_transaction", "waiting", "running")

# Only sessions of applications: neither those of the administrator and of replication nor this one.
_TERMINATE = """
WITH stuck AS (
  SELECT pid,
    CASE
      WHEN state LIKE 'idle in transaction%' AND now() - state_change > make_interval(secs => $1)
        THEN 'idle_in_transaction'
      WHEN state = 'active' AND wait_event_type = 'Lock' AND now() - query_start > make_interval(secs => $2)
        THEN 'waiting'
      WHEN state = 'active' AND now() - query_start > make_interval(secs => $3) THEN 'running'
    END AS kind
  FROM pg_stat_activity
  WHERE backend_type = 'client backend' AND datname = $4 AND pid <> pg_backend_pid()
    AND usename <> ALL ($5::text[])
)
SELECT kind, count(*) FILTER (WHERE pg_terminate_backend(pid)) AS ended
FROM stuck WHERE kind IS NOT NULL GROUP BY kind
"""


class AsyncpgSessions:
    """See `recovery.ports.DatabaseSessions`."""

    async def terminate_stuck(
        self, cluster: PostgresCluster, endpoint: Endpoint, *, idle_s: float, waiting_s: float, running_s: float
    ) -> Terminated:
        """See `DatabaseSessions.terminate_stuck`."""
        spared = [cluster.admin.user, cluster.replication.user]
        async with _connection(cluster, endpoint.host, endpoint.port, cluster.database) as connection:
            rows = await connection.fetch(
                _TERMINATE, idle_s, waiting_s, running_s, cluster.database, spared, timeout=_QUERY_S
            )
        ended = {row["kind"]: int(row["ended"]) for row in rows}
        return Terminated(**{kind: ended.get(kind, 0) for kind in _KINDS})

    async def check_fallback(self, cluster: PostgresCluster) -> Endpoint:
        """See `DatabaseSessions.check_fallback`."""
        if not cluster.fallback_url:
            raise RejectedError("the cluster has no fallback_url; set postgres_clusters.<cluster>.fallback_url")
        parts = urlsplit(cluster.fallback_url)
        host, port = parts.hostname or "", parts.port or _DEFAULT_PORT
        database = parts.path.lstrip("/") or cluster.database
        async with _connection(cluster, host, port, database) as connection:
            await connection.fetchval("SELECT 1", timeout=_QUERY_S)
        return Endpoint(member="fallback", host=host, port=port)


@asynccontextmanager
async def _connection(
    cluster: PostgresCluster, host: str, port: int, database: str
) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A fresh connection as administrator; driver errors become TransientError."""
    try:
        connection = await asyncpg.connect(
            host=host,
            port=port,
            user=cluster.admin.user,
            password=cluster.admin.password.reveal() if cluster.admin.password else None,
            database=database,
            timeout=_CONNECT_S,
            server_settings={"application_name": "yaoki-recovery"},
        )
        try:
            yield connection
        finally:
            connection.terminate()
    except (*CONNECTION_LOST, asyncpg.PostgresError) as error:
        raise TransientError(f"PostgreSQL at {host}:{port}: {str(error) or type(error).__name__}") from error
