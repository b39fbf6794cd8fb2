"""A PostgreSQL database through pg_dump: complete, restorable table by table, into any later version.

The dump, the counts and the fingerprints see the same exported snapshot. Roles and other globals belong to no database
and to no snapshot; they are stored beside it.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import msgspec

from backup.adapters.children import output_of
from backup.errors import SourceFailedError
from backup.manifest import SourceFacts
from backup.sources.fingerprint import contents, prepare, quoted

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from datetime import datetime

    from backup.manifest import Content
    from backup.sources.postgres_server import Connection, PostgresServer

KIND: Final = "postgres-logical"
GLOBALS: Final = "globals"
DATA: Final = "data"
_LOCK_WAIT: Final = "--lock-wait-timeout=300s"

_FACTS: Final = """
SELECT pg_catalog.pg_export_snapshot() AS snapshot, pg_catalog.transaction_timestamp() AS at,
  pg_catalog.current_setting('server_version') AS version,
  (SELECT system_identifier::text FROM pg_catalog.pg_control_system()) AS system,
  (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) AS superuser,
  CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
    ELSE pg_catalog.pg_current_wal_lsn() END::text AS position
"""

_DATABASE: Final = """
SELECT pg_catalog.pg_encoding_to_char(encoding) AS encoding, datcollate AS collate, datctype AS ctype,
  pg_catalog.pg_get_userbyid(datdba) AS owner, datconnlimit::text AS connection_limit,
  datlocprovider::text AS locale_provider, {locale} AS locale,
  coalesce((SELECT pg_catalog.json_agg(pg_catalog.json_build_object('role', r.rolname, 'settings', s.setconfig))
    FROM pg_catalog.pg_db_role_setting s LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole
    WHERE s.setdatabase = d.oid)::text, '[]') AS settings,
  coalesce((SELECT pg_catalog.json_agg(pg_catalog.json_build_object('grantee', r.rolname, 'privilege', a.privilege_type,
      'grantable', a.is_grantable))
    FROM pg_catalog.aclexplode(d.datacl) a LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.grantee)::text, '[]') AS grants,
  coalesce(pg_catalog.shobj_description(d.oid, 'pg_database'), '') AS comment
FROM pg_catalog.pg_database d WHERE datname = pg_catalog.current_database()
"""
_FIRST_WITH_LOCALE: Final = 17


class PostgresLogicalSource:
    """See `ports.Source`.

    Args:
        server: What to read; the user needs to read everything, and superuser rights for the roles' passwords.
        tables: `schema.table`; the whole database when there are none.
        fingerprints: False to count rows only, where reading every row once more costs too much.
    """

    def __init__(self, server: PostgresServer, *, tables: tuple[str, ...] = (), fingerprints: bool = True) -> None:
        self._server = server
        self._tables = tables
        self._fingerprints = fingerprints

    @property
    def kind(self) -> str:
        """See `Source.kind`."""
        return KIND

    @asynccontextmanager
    async def capture(self) -> AsyncIterator[PostgresCapture]:
        """See `Source.capture`: one transaction holds the snapshot until the end."""
        async with self._server.connected() as connection:
            transaction = connection.transaction(isolation="repeatable_read", readonly=True)
            await transaction.start()
            await prepare(connection)
            view = await _view(connection)
            counted = asyncio.create_task(contents(connection, self._tables, fingerprints=self._fingerprints))
            try:
                yield PostgresCapture(self._server, self._tables, view, counted)
            except SourceFailedError:
                if counted.done():
                    counted.result()  # a failed count ends the snapshot, and that is all that pg_dump could say
                raise
            finally:
                counted.cancel()
                await asyncio.gather(counted, return_exceptions=True)


class _View(msgspec.Struct, frozen=True, kw_only=True):
    snapshot: str
    at: datetime
    version: str
    system: str
    position: str
    superuser: bool
    database: dict[str, str]


class PostgresCapture:
    """See `ports.Capture`."""

    def __init__(
        self, server: PostgresServer, tables: tuple[str, ...], view: _View, counted: asyncio.Task[tuple[Content, ...]]
    ) -> None:
        self._server = server
        self._tables = tables
        self._view = view
        self._counted = counted

    @property
    def streams(self) -> tuple[str, ...]:
        """See `Capture.streams`."""
        return (DATA,) if self._tables else (GLOBALS, DATA)

    def stream(self, name: str) -> AsyncGenerator[bytes]:
        """See `Capture.stream`."""
        argv = self._globals() if name == GLOBALS else self._dump()
        return output_of(argv, self._server.environment())

    async def facts(self) -> SourceFacts:
        """See `Capture.facts`."""
        found = await self._counted
        missing = sorted(set(self._tables) - {content.name for content in found})
        if missing:
            raise SourceFailedError(
                f"database {self._server.database!r} has no table {missing[0]!r}",
                advice="Correct the names under tables; they are written schema.table.",
            )
        warnings = () if self._view.superuser else ("roles were stored without passwords: the user is no superuser",)
        return SourceFacts(
            consistent_at=self._view.at,
            contents=found,
            versions={"postgresql": self._view.version},
            details={
                "database": self._server.database,
                "system_identifier": self._view.system,
                "position": self._view.position,
                **self._view.database,
            },
            warnings=() if self._tables else warnings,
        )

    def _dump(self) -> list[str]:
        chosen = [f"--table={_pattern(table)}" for table in self._tables]
        program = self._server.program("pg_dump")
        # Compressed once, by us: better than by the dump, and with one checksum over everything.
        return [
            *(program, "--format=custom", "--compress=none", "--no-password", _LOCK_WAIT),
            *(f"--snapshot={self._view.snapshot}", *chosen),
        ]

    def _globals(self) -> list[str]:
        program = self._server.program("pg_dumpall")
        without = [] if self._view.superuser else ["--no-role-passwords"]
        return [program, "--globals-only", "--no-password", f"--database={self._server.database}", *without]


async def _view(connection: Connection) -> _View:
    facts = await connection.fetchrow(_FACTS)
    version = connection.get_server_version().major
    locale = "coalesce(datlocale, '')" if version >= _FIRST_WITH_LOCALE else "coalesce(daticulocale, '')"
    database = await connection.fetchrow(_DATABASE.format(locale=locale))
    if facts is None or database is None:
        raise SourceFailedError("the server does not describe itself", advice="Look at the server's log.")
    return _View(
        snapshot=facts["snapshot"],
        at=facts["at"],
        version=facts["version"],
        system=facts["system"],
        position=facts["position"],
        superuser=bool(facts["superuser"]),
        database=dict(database),
    )


def _pattern(table: str) -> str:
    """A table's name as pg_dump wants it, taken literally."""
    schema, _, name = table.partition(".")
    return f"{quoted(schema)}.{quoted(name)}"
