"""Rehearses the restore of a logical backup on a server of its own."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from yaoki.events.backup import VerificationStage

from backup.adapters.children import Sink
from backup.errors import DamagedError, RestoreFailedError, SourceFailedError
from backup.sources.postgres_logical import DATA
from backup.sources.postgres_restore import RestoreOptions, contents_of, restore_database
from backup.sources.throwaway import throwaway_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from backup.adapters.accounts import Account
    from backup.manifest import Content
    from backup.sources.postgres_server import PostgresServer
    from backup.stored import StoredBackup

_DATABASE: Final = "rehearsal"


class PostgresRehearsal:
    """See `ports.Rehearsal`.

    Args:
        binaries: Directory of PostgreSQL's programs, of the major version of the backups or a later one.
        account: To run the server as, where this process is root.
        directory: Where the server may put its data.
    """

    def __init__(self, *, binaries: str, account: Account | None, directory: Path | None = None) -> None:
        self._binaries = binaries
        self._account = account
        self._directory = directory

    @asynccontextmanager
    async def structure(self) -> AsyncIterator[ArchiveListing]:
        """See `Rehearsal.structure`: pg_restore reads the table of contents."""
        program = f"{self._binaries}/pg_restore" if self._binaries else "pg_restore"
        async with Sink([program, "--list"], {}) as child:
            yield ArchiveListing(child)

    @asynccontextmanager
    async def restored(self, backup: StoredBackup) -> AsyncIterator[RestoredDatabase]:
        """See `Rehearsal.restored`."""
        async with throwaway_server(
            binaries=self._binaries, account=self._account, directory=self._directory
        ) as server:
            options = RestoreOptions(roles=True, any_locale=True)
            await restore_database(server, _DATABASE, backup, options)
            yield RestoredDatabase(server.database_named(_DATABASE), backup)


class ArchiveListing:
    """See `ports.Structure`."""

    stream: Final = DATA

    def __init__(self, program: Sink) -> None:
        self._program = program

    async def take(self, chunk: bytes) -> None:
        """See `Structure.take`."""
        await self._program.write(chunk)

    async def judge(self) -> None:
        """See `Structure.judge`."""
        try:
            listing = await self._program.finish()
        except SourceFailedError as error:
            raise _no_archive(error.message) from error
        if not listing.strip():
            raise _no_archive("pg_restore lists nothing")


class RestoredDatabase:
    """See `ports.RestoredCopy`."""

    def __init__(self, server: PostgresServer, backup: StoredBackup) -> None:
        self._server = server
        self._backup = backup

    async def contents(self) -> tuple[Content, ...]:
        """See `RestoredCopy.contents`."""
        return await contents_of(self._server, self._backup)

    async def ask(self, question: str) -> str:
        """See `RestoredCopy.ask`."""
        try:
            async with self._server.connected() as connection, connection.transaction(readonly=True):
                value = await connection.fetchval(question)
        except SourceFailedError as error:
            raise RestoreFailedError(
                f"the question cannot be answered: {error.message}", advice="Correct its SQL."
            ) from error
        if isinstance(value, bool):
            return "true" if value else "false"
        return "" if value is None else str(value)


def _no_archive(reason: str) -> DamagedError:
    return DamagedError(
        f"stream {DATA!r} is no archive of pg_dump: {reason}",
        advice="Take a new backup, and look at the version of pg_restore.",
        stage=VerificationStage.STRUCTURE,
    )
