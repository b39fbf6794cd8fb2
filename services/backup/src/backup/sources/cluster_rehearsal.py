"""Rehearses the restore of a physical backup: unpacked, compared, started and read from its first to its last table."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from yaoki.events.backup import BackupFailureClass, VerificationStage

from backup.errors import DamagedError, SourceFailedError
from backup.sources.base_manifest import END_BYTES, LABEL, NAME, base_facts
from backup.sources.cluster_restore import restore_cluster, restored_contents
from backup.sources.fingerprint import contents, prepare
from backup.sources.postgres_physical import DATA
from backup.sources.postgres_rehearsal import RestoredDatabase
from backup.sources.postgres_server import PostgresServer
from backup.sources.private_server import running
from backup.sources.tar_watch import NoTarError, TarWatcher
from backup.sources.throwaway import SETTINGS, home_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from backup.adapters.accounts import Account
    from backup.manifest import Content, Manifest
    from backup.stored import StoredBackup

_LONGEST_START_S: Final = 3600.0
_CONTROL: Final = "global/pg_control"
_DATABASES: Final = "SELECT datname FROM pg_catalog.pg_database WHERE datallowconn ORDER BY 1"
# Rows are counted in the tables themselves, not in an index: the pages are what has to be readable.
_PLAIN_SCANS: Final = "SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off"


class ClusterRehearsal:
    """See `ports.Rehearsal`.

    Args:
        binaries: Directory of PostgreSQL's programs, of the major version of the backups.
        account: To run the server as, where this process is root.
        directory: Where the copy may lie; needs room for the whole cluster.
    """

    def __init__(self, *, binaries: str, account: Account | None, directory: Path | None = None) -> None:
        self._binaries = binaries
        self._account = account
        self._directory = directory

    @asynccontextmanager
    async def structure(self) -> AsyncIterator[BaseArchive]:
        """See `Rehearsal.structure`."""
        yield BaseArchive()

    @asynccontextmanager
    async def restored(self, backup: StoredBackup) -> AsyncIterator[RestoredCluster]:
        """See `Rehearsal.restored`: with settings of our own, so that nothing of the original is reached from it."""
        home = await asyncio.to_thread(home_in, self._directory, self._account)
        server = private_address(home, backup.manifest, self._binaries)
        try:
            await restore_cluster(home / "data", backup, server, self._account)
            found = await restored_contents(home / "data")
            settings = SETTINGS | await asyncio.to_thread(isolate, home, backup.manifest)
            (home / "data" / "postgresql.auto.conf").write_bytes(b"")
            async with running(server, home / "data", settings, self._account, start_s=_LONGEST_START_S):
                yield RestoredCluster(server, backup, found)
        finally:
            await asyncio.to_thread(shutil.rmtree, home, ignore_errors=True)


def private_address(home: Path, manifest: Manifest, binaries: str) -> PostgresServer:
    """How a cluster that was restored from a backup is reached by its socket in `home`."""
    details = manifest.source.details
    return PostgresServer(
        host=str(home),
        user=details.get("superuser", "postgres"),
        database=details.get("database", "postgres"),
        tls="disable",
        binaries=binaries,
    )


def isolate(home: Path, manifest: Manifest) -> dict[str, str]:
    """Settings that replace every file of the original's configuration; login by socket alone."""
    files = {"config_file": "", "hba_file": "local all all trust\n", "ident_file": ""}
    for name, text in files.items():
        (home / name).write_text(text, encoding="utf-8")
        (home / name).chmod(0o644)
    # Transactions that were prepared have to fit in.
    prepared = manifest.source.details.get("max_prepared_transactions", "0")
    return {name: str(home / name) for name in files} | {"max_prepared_transactions": prepared}


class BaseArchive:
    """See `ports.Structure`: a tar archive that holds what a server needs to start from it."""

    stream: Final = DATA

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._watcher = TarWatcher({NAME: END_BYTES}, self._entered)

    async def take(self, chunk: bytes) -> None:
        """See `Structure.take`."""
        try:
            self._watcher.take(chunk)
        except NoTarError:
            raise _no_base_backup("a tar archive is expected") from None

    async def judge(self) -> None:
        """See `Structure.judge`."""
        for name in (LABEL, _CONTROL, NAME):
            if name not in self._names:
                raise _no_base_backup(f"{name} is missing")
        base_facts(self._watcher.kept[NAME], self._watcher.counted[NAME])

    def _entered(self, name: str) -> None:
        if name in {LABEL, _CONTROL, NAME}:
            self._names.add(name)


class RestoredCluster:
    """See `ports.RestoredCopy`."""

    def __init__(self, server: PostgresServer, backup: StoredBackup, found: tuple[Content, ...]) -> None:
        self._server = server
        self._found = found
        self._database = RestoredDatabase(server, backup)

    async def contents(self) -> tuple[Content, ...]:
        """See `RestoredCopy.contents`; every table of every database is read on the way."""
        async with self._server.connected() as connection:
            names = [row["datname"] for row in await connection.fetch(_DATABASES)]
        for name in names:
            await _read(self._server.database_named(name))
        return self._found

    async def ask(self, question: str) -> str:
        """See `RestoredCopy.ask`."""
        return await self._database.ask(question)


async def _read(server: PostgresServer) -> None:
    try:
        async with server.connected() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
            await prepare(connection)
            await connection.execute(_PLAIN_SCANS)
            await contents(connection, (), fingerprints=False)
    except SourceFailedError as error:
        if error.failure is not BackupFailureClass.SOURCE:
            raise
        raise DamagedError(
            f"the restored cluster cannot be read: {error.message}",
            advice="Restore from another backup, and look at the original with pg_amcheck.",
            stage=VerificationStage.CONTENT,
        ) from error


def _no_base_backup(reason: str) -> DamagedError:
    return DamagedError(
        f"stream {DATA!r} is no base backup: {reason}",
        advice="Restore from another backup, and take a new one now.",
        stage=VerificationStage.STRUCTURE,
    )
