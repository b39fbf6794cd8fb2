"""What is asked of a running PostgreSQL, each on a fresh connection with a deadline."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg
import msgspec
from yaoki.errors import ErrorCode, TransientError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from health_probe.agent.addresses import ServerAddress

_SETTING_NAME = re.compile(r"[a-z_]+")
_WRITE_TABLE = """
CREATE TABLE IF NOT EXISTS yaoki_write_check
(id int PRIMARY KEY, token text NOT NULL, written_at timestamptz NOT NULL DEFAULT now())
"""
_WRITE = """
INSERT INTO yaoki_write_check (id, token) VALUES (1, $1)
ON CONFLICT (id) DO UPDATE SET token = excluded.token, written_at = now()
"""


class ServerView(msgspec.Struct, frozen=True, kw_only=True):
    """A running PostgreSQL as it describes itself.

    Attributes:
        in_recovery: It is a standby.
        timeline: Of the WAL that it writes or receives.
        received: End of WAL received or written, bytes.
        replayed: End of WAL replayed or written, bytes.
        upstream: State of the WAL receiver (`streaming` is good); empty when there is none.
        synchronous_setting: `synchronous_standby_names`.
        exhausted: A standby has replayed all WAL that it has itself; before that `received` is less than it has.
        streaming: `application_name` of those that stream from it, with the end of WAL each has flushed.
        synchronous: Those whose acknowledgement counts now.
    """

    in_recovery: bool
    timeline: int
    received: int
    replayed: int
    upstream: str
    exhausted: bool
    synchronous_setting: str
    streaming: dict[str, int]
    synchronous: tuple[str, ...]


_VIEW = """
SELECT pg_is_in_recovery() AS in_recovery,
       CASE WHEN pg_is_in_recovery()
            THEN greatest((SELECT received_tli FROM pg_stat_wal_receiver), checkpoint.timeline_id,
                          (SELECT min_recovery_end_timeline FROM pg_control_recovery()))
            ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int END AS timeline,
       CASE WHEN pg_is_in_recovery()
            THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
            ELSE pg_current_wal_lsn() END - '0/0'::pg_lsn AS received,
       CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
            ELSE pg_current_wal_lsn() END - '0/0'::pg_lsn AS replayed,
       coalesce((SELECT status FROM pg_stat_wal_receiver), '') AS upstream,
       NOT pg_is_in_recovery() OR pg_last_wal_receive_lsn() IS NOT NULL AS exhausted,
       current_setting('synchronous_standby_names') AS synchronous_setting,
       pg_is_in_recovery() AND has_function_privilege('pg_ls_waldir()', 'EXECUTE') AS wal_can_be_listed
FROM pg_control_checkpoint() AS checkpoint
"""
# The timelines above are those of checkpoints, which lag: a standby that has WAL of a newer timeline and loses its
# upstream before its next restartpoint would seem older than it is, and lose against one that has less.
_NEWEST_WAL = """
SELECT max(('x' || substr(name, 1, 8))::bit(32)::int) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'
"""
_STANDBYS = """
SELECT application_name, coalesce(flush_lsn, '0/0') - '0/0'::pg_lsn AS flushed, sync_state
FROM pg_stat_replication WHERE state = 'streaming'
"""


class PostgresSql:
    """The administrator's connection to one server.

    Args:
        address: Of the server.
        user: Superuser, or a role with the rights of `pg_promote`, `ALTER SYSTEM`, `pg_reload_conf`, CHECKPOINT.
        password: Of the user.
        database: Where committed writes are checked.

    Every method raises TransientError when the server does not answer in time or refuses.
    """

    def __init__(self, address: ServerAddress, *, user: str, password: str | None, database: str) -> None:
        self.address = address
        self._user = user
        self._password = password
        self._database = database

    def at(self, address: ServerAddress) -> PostgresSql:
        """The same login at another member of the cluster."""
        return PostgresSql(address, user=self._user, password=self._password, database=self._database)

    @asynccontextmanager
    async def _connection(self, timeout_s: float, database: str = "postgres") -> AsyncIterator[asyncpg.Connection[Any]]:
        try:
            async with asyncio.timeout(timeout_s):
                connection = await asyncpg.connect(
                    host=self.address.host,
                    port=self.address.port,
                    user=self._user,
                    password=self._password,
                    database=database,
                    server_settings={"application_name": "yaoki-agent", "synchronous_commit": "local"},
                )
                try:
                    yield connection
                finally:
                    connection.terminate()
        except TimeoutError as exc:
            raise TransientError(
                f"PostgreSQL at {self.address.host}:{self.address.port} did not answer within {timeout_s:.1f} s",
                code=ErrorCode.TIMEOUT,
            ) from exc
        except Exception as exc:
            # A server that is killed while a client connects ends the driver in ways that it does not document.
            raise TransientError(
                f"PostgreSQL at {self.address.host}:{self.address.port} refused: {type(exc).__name__}: {exc}"
            ) from exc

    async def view(self, timeout_s: float = 2.0) -> ServerView:
        """How the server describes itself."""
        async with self._connection(timeout_s) as connection:
            row = await connection.fetchrow(_VIEW)
            standbys = await connection.fetch(_STANDBYS)
            newest = await connection.fetchval(_NEWEST_WAL) if row and row["wal_can_be_listed"] else None
        if row is None:
            raise TransientError(f"PostgreSQL at {self.address.host}:{self.address.port} described itself by no row")
        return ServerView(
            in_recovery=row["in_recovery"],
            timeline=max(int(row["timeline"] or 0), int(newest or 0)),
            received=int(row["received"] or 0),
            replayed=int(row["replayed"] or 0),
            upstream=row["upstream"],
            exhausted=row["exhausted"],
            synchronous_setting=row["synchronous_setting"],
            streaming={entry["application_name"]: int(entry["flushed"]) for entry in standbys},
            synchronous=tuple(sorted(e["application_name"] for e in standbys if e["sync_state"] in {"sync", "quorum"})),
        )

    async def promote(self, timeout_s: float) -> None:
        """Ask for promotion; the caller waits until the server is no longer in recovery."""
        async with self._connection(timeout_s) as connection:
            await connection.execute("SELECT pg_promote(wait => false)")

    async def checkpoint(self, timeout_s: float) -> None:
        """A checkpoint, so that `pg_rewind` and the next crash recovery see the new timeline."""
        async with self._connection(timeout_s) as connection:
            await connection.execute("CHECKPOINT")

    async def configure(self, settings: Mapping[str, str], timeout_s: float = 5.0) -> None:
        """`ALTER SYSTEM` for each setting, then reload."""
        async with self._connection(timeout_s) as connection:
            for name, value in settings.items():
                if not _SETTING_NAME.fullmatch(name):
                    raise ValueError(f"setting name {name!r} is no identifier")
                quoted = await connection.fetchval("SELECT quote_literal($1::text)", value)
                await connection.execute(f"ALTER SYSTEM SET {name} = {quoted}")
            await connection.execute("SELECT pg_reload_conf()")

    async def settings(self, *names: str, timeout_s: float = 2.0) -> dict[str, str]:
        """Current values of settings."""
        async with self._connection(timeout_s) as connection:
            rows = await connection.fetch("SELECT name, setting FROM pg_settings WHERE name = ANY($1)", list(names))
        return {row["name"]: row["setting"] for row in rows}

    async def write_and_read_back(self, timeout_s: float) -> str:
        """Commit a new row as strictly as the applications do, read it on a second connection, return its value.

        The commit waits for the synchronous standbys: a server whose commits hang is not writable.
        """
        token = str(uuid4())
        async with self._connection(timeout_s, self._database) as connection:
            await connection.execute("SET synchronous_commit = on")
            await connection.execute(_WRITE_TABLE)
            await connection.execute(_WRITE, token)
        async with self._connection(timeout_s, self._database) as connection:
            found = await connection.fetchval("SELECT token FROM yaoki_write_check WHERE id = 1")
        if found != token:
            raise TransientError(f"a committed write reads back as {found!r}, expected {token!r}")
        return token
