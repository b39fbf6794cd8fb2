"""A whole PostgreSQL cluster, file by file, through pg_basebackup: fast both ways, for the same major version only.

The archive carries the WAL between its start and its stop, so that each backup can be restored alone.
"""

from __future__ import annotations

import time
from contextlib import aclosing, asynccontextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from backup.adapters.children import output_of
from backup.errors import DamagedError, SourceFailedError
from backup.manifest import SourceFacts
from backup.sources.base_check import ALGORITHM
from backup.sources.base_manifest import END_BYTES, LABEL, NAME, base_facts
from backup.sources.tar_watch import NoTarError, TarWatcher

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from backup.sources.postgres_server import PostgresServer

KIND: Final = "postgres-physical"
DATA: Final = "data"
_WAL: Final = "pg_wal/0"

_FACTS: Final = """
SELECT pg_catalog.clock_timestamp() AS at, pg_catalog.current_setting('server_version') AS version,
  (SELECT system_identifier::text FROM pg_catalog.pg_control_system()) AS system,
  (SELECT rolname::text FROM pg_catalog.pg_roles WHERE oid = 10) AS superuser,
  pg_catalog.current_setting('wal_segment_size') AS segment_size,
  pg_catalog.current_setting('max_prepared_transactions') AS prepared,
  pg_catalog.current_setting('data_checksums') AS checksums,
  (SELECT count(*) FROM pg_catalog.pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global')) AS tablespaces
"""


class PostgresPhysicalSource:
    """See `ports.Source`.

    Args:
        server: What to read; the user needs the attribute REPLICATION. Its database is where questions are asked.
    """

    def __init__(self, server: PostgresServer) -> None:
        self._server = server

    @property
    def kind(self) -> str:
        """See `Source.kind`."""
        return KIND

    @asynccontextmanager
    async def capture(self) -> AsyncIterator[PhysicalCapture]:
        """See `Source.capture`; nothing of the server is held before the stream is read."""
        view = await _view(self._server)
        if view.tablespaces:
            raise SourceFailedError(
                f"the cluster has {view.tablespaces} tablespaces beside its data directory; expected none",
                advice="Back it up with kind postgres-logical: one stream cannot hold several tablespaces.",
            )
        yield PhysicalCapture(self._server, view)


class _View(msgspec.Struct, frozen=True, kw_only=True):
    at: datetime
    seen: float
    version: str
    system: str
    superuser: str
    segment_size: str
    prepared: str
    checksums: str
    tablespaces: int


class PhysicalCapture:
    """See `ports.Capture`."""

    streams: Final = (DATA,)

    def __init__(self, server: PostgresServer, view: _View) -> None:
        self._server = server
        self._view = view
        self._stopped: float | None = None
        self._watcher = TarWatcher({NAME: END_BYTES, LABEL: END_BYTES}, self._entered)

    async def stream(self, name: str) -> AsyncGenerator[bytes]:  # noqa: ARG002 - there is one
        """See `Capture.stream`."""
        argv = [
            *(self._server.program("pg_basebackup"), "--pgdata=-", "--format=tar", "--wal-method=fetch"),
            *("--checkpoint=fast", "--label=yaoki", "--no-password", f"--manifest-checksums={ALGORITHM}"),
        ]
        async with aclosing(output_of(argv, self._server.environment())) as archive:
            async for chunk in archive:
                try:
                    self._watcher.take(chunk)
                except NoTarError:
                    raise _no_base_backup() from None
                yield chunk

    async def facts(self) -> SourceFacts:
        """See `Capture.facts`."""
        view = self._view
        try:
            found = base_facts(self._watcher.kept.get(NAME, b""), self._watcher.counted.get(NAME, 0))
        except DamagedError as error:
            raise _no_base_backup() from error
        if self._stopped is None:
            raise _no_base_backup()
        # The server's clock, carried on by ours: a commit that the backup shows is not later.
        stopped_at = view.at + timedelta(seconds=self._stopped - view.seen)
        unchecked = ("the cluster has no data checksums: damaged pages are not found",)
        return SourceFacts(
            consistent_at=stopped_at,
            contents=found.contents,
            versions={"postgresql": view.version},
            details={
                "database": self._server.database,
                "system_identifier": view.system,
                "superuser": view.superuser,
                "timeline": str(found.timeline),
                "start_lsn": found.start_lsn,
                "stop_lsn": found.stop_lsn,
                "wal_segment_size": view.segment_size,
                "max_prepared_transactions": view.prepared,
            },
            warnings=() if view.checksums == "on" else unchecked,
        )

    def _entered(self, name: str) -> None:
        # The server sends WAL when the backup has stopped.
        if self._stopped is None and name.startswith(_WAL):
            self._stopped = time.monotonic()


async def _view(server: PostgresServer) -> _View:
    async with server.connected() as connection:
        facts = await connection.fetchrow(_FACTS)
        seen = time.monotonic()
    if facts is None:
        raise SourceFailedError("the server does not describe itself", advice="Look at the server's log.")
    return _View(seen=seen, **dict(facts))


def _no_base_backup() -> SourceFailedError:
    return SourceFailedError(
        "what pg_basebackup gave is no complete base backup",
        advice="Set the binaries to those of the server's major version, and look at the server's log.",
    )
