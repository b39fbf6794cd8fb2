"""A whole cluster, backed up from a running server, restored, compared, started and read."""

from __future__ import annotations

import shutil
import sys
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from backup.adapters.accounts import account_of
from backup.adapters.children import run
from backup.errors import RestoreRefusedError, SourceFailedError
from backup.sources.cluster_rehearsal import ClusterRehearsal
from backup.sources.cluster_restore import restore_cluster, restored_contents
from backup.sources.postgres_physical import PostgresPhysicalSource
from backup.stored import StoredBackup
from backup.verifying import Assertion, Verifying
from yaoki.clock import SystemClock
from yaoki.events.backup import BackupFailureClass, VerificationStage

from .taken import repository_in, take

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from backup.adapters.directory import DirectoryObjectStore
    from backup.adapters.s3 import S3ObjectStore
    from backup.manifest import SourceFacts
    from backup.pipeline.codec import Identity
    from backup.ports import Capture
    from backup.sources.postgres_server import PostgresServer

    from .databases import TestDatabase

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]


def verifying(server: PostgresServer) -> Verifying:
    return Verifying(ClusterRehearsal(binaries=server.binaries, account=account_of(None)), SystemClock(), "backup-1")


async def test_a_cluster_is_restored_started_and_read(
    database: TestDatabase, s3_store: S3ObjectStore, identity: Identity
) -> None:
    """Through S3, on a server with a command that must never run from a copy."""
    repository, server = repository_in(s3_store), database.address()
    await database.psql("ALTER SYSTEM SET archive_command = 'exit 126'")
    try:
        manifest = await take(repository, PostgresPhysicalSource(server), identity)
    finally:
        await database.psql("ALTER SYSTEM RESET archive_command")

    details = manifest.source.details
    assert details["system_identifier"] == await database.psql("SELECT system_identifier FROM pg_control_system()")
    assert (details["timeline"], details["superuser"]) == ("1", "postgres")
    assert await database.psql(f"SELECT pg_lsn '{details['start_lsn']}' < '{details['stop_lsn']}'") == "t"
    assert await database.psql(f"SELECT timestamptz '{manifest.source.consistent_at}' <= clock_timestamp()") == "t"

    question = Assertion(name="orders", question="SELECT count(*) FROM public.orders", expect="3000")
    found = await verifying(server).verify(StoredBackup(repository, manifest, [identity]), [question])

    assert found.record.passed, found
    assert found.record.stages == tuple(VerificationStage)


async def test_a_restore_keeps_what_is_there_and_is_the_same_by_other_ways(
    database: TestDatabase,
    directory_store: DirectoryObjectStore,
    identity: Identity,
    tool: dict[str, str],
    tmp_path: Path,
) -> None:
    """Nothing is unpacked into a directory that is not empty, and nothing by programs that could not start it."""
    server, repository = database.address(), repository_in(directory_store)
    manifest = await take(repository, PostgresPhysicalSource(server), identity)
    backup = StoredBackup(repository, manifest, [identity])
    live = tmp_path / "live"
    live.mkdir()
    (live / "PG_VERSION").write_text("18\n", encoding="utf-8")

    with pytest.raises(RestoreRefusedError, match="is not empty"):
        await restore_cluster(live, backup, server, None)
    assert [path.name for path in live.iterdir()] == ["PG_VERSION"]

    facts = msgspec.structs.replace(manifest.source, versions={"postgresql": "9.6.24"})
    old = StoredBackup(repository, msgspec.structs.replace(manifest, source=facts), [identity])
    with pytest.raises(RestoreRefusedError, match=r"is of PostgreSQL 9\.6\.24"):
        await restore_cluster(tmp_path / "old", old, server, None)
    assert not (tmp_path / "old").exists()

    await restore_cluster(tmp_path / "new", backup, server, None)
    assert await restored_contents(tmp_path / "new") == manifest.source.contents

    objects, key, by_hand = f"$(ls {tmp_path}/repository/yaoki/*/*/*/data.*)", tmp_path / "key.txt", tmp_path / "hand"
    key.write_text(str(identity), encoding="utf-8")
    by_hand.mkdir()
    glass = [sys.executable, "-m", "backup.break_glass", "restore", f"--from=file://{tmp_path}/repository/yaoki"]
    options = [f"--identity={key}", f"--into-directory={tmp_path / 'glass'}", f"--binaries={server.binaries}"]
    said = await run([*glass, *options], {})
    assert b"are those that were backed up" in said
    await run(["diff", "-r", "--no-dereference", str(tmp_path / "new"), str(tmp_path / "glass")], {})

    line = f"cat {objects} | {tool['age']} -d -i {key} | {tool['zstd']} -d | tar -x -C {by_hand}"
    await run(["sh", "-ec", line], {})
    await run(["diff", "-r", "--no-dereference", str(tmp_path / "new"), str(by_hand)], {})


class Tampering:
    """A source whose stream is changed on its way, and sealed without fault: what a faulty machine would store."""

    def __init__(self, source: PostgresPhysicalSource, old: bytes, new: bytes) -> None:
        self.kind = source.kind
        self.changed = 0
        self._source, self._old, self._new = source, old, new

    @asynccontextmanager
    async def capture(self) -> AsyncIterator[Capture]:
        async with self._source.capture() as capture:
            yield TamperedCapture(self, capture)

    def change(self, chunk: bytes) -> bytes:
        self.changed += chunk.count(self._old)
        return chunk.replace(self._old, self._new)


class TamperedCapture:
    """The streams of another capture, changed."""

    def __init__(self, source: Tampering, capture: Capture) -> None:
        self.streams = capture.streams
        self._source, self._capture = source, capture

    async def stream(self, name: str) -> AsyncGenerator[bytes]:
        async with aclosing(self._capture.stream(name)) as chunks:
            async for chunk in chunks:
                yield self._source.change(chunk)

    async def facts(self) -> SourceFacts:
        return await self._capture.facts()


async def test_a_file_that_differs_from_the_base_backup_is_found(
    database: TestDatabase, directory_store: DirectoryObjectStore, identity: Identity
) -> None:
    """Every stored byte is as it was written, and yet one file is not the server's."""
    await database.psql("CREATE TABLE marked AS SELECT 'the-genuine-row-of-the-table' AS row")
    repository, server = repository_in(directory_store), database.address()
    source = Tampering(PostgresPhysicalSource(server), b"the-genuine-row-of-the-table", b"the-altered-row-of-the-table")
    manifest = await take(repository, source, identity)
    assert source.changed

    found = await verifying(server).verify(StoredBackup(repository, manifest, [identity]))

    assert (found.record.failed_stage, found.record.conclusive) == (VerificationStage.RESTORE, True), found
    assert "of the restored cluster is not the one of the base backup" in found.record.message


async def test_a_backup_whose_connection_is_ended_is_none(database: TestDatabase) -> None:
    """After the first megabyte, as by a server that is shut down: the error comes where the end would be."""
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_replication WHERE application_name = 'yaoki-backup'"
    async with (
        PostgresPhysicalSource(database.address()).capture() as capture,
        aclosing(capture.stream("data")) as chunks,
    ):
        await anext(chunks)
        assert await database.psql(kill) == "t"

        with pytest.raises(SourceFailedError, match="pg_basebackup ended with status 1"):
            [_ async for _ in chunks]


@pytest.mark.parametrize(("user", "reason"), [("app_reader", "permission"), ("nobody", "refused")])
async def test_a_login_that_may_not_replicate_is_named(user: str, reason: str, *, database: TestDatabase) -> None:
    password = "reader-secret"
    server = msgspec.structs.replace(database.address(), user=user, password=password)

    with pytest.raises(SourceFailedError, match=reason) as raised:
        async with PostgresPhysicalSource(server).capture() as capture:
            [_ async for _ in capture.stream("data")]

    assert raised.value.failure is BackupFailureClass.AUTHENTICATION
    assert password not in str(raised.value)


async def test_tablespaces_are_refused_before_anything_is_read(database: TestDatabase) -> None:
    """One stream cannot hold them, and a backup without them would look complete."""
    place = Path("/var/tmp") / f"yaoki-{database.name}"  # noqa: S108 - the server's user has to reach it
    place.mkdir(mode=0o700)
    if (account := account_of(None)) is not None:
        shutil.chown(place, account.uid, account.gid)
    try:
        await database.psql(f"CREATE TABLESPACE {database.name} LOCATION '{place}'")
        with pytest.raises(SourceFailedError, match="has 1 tablespaces"):
            async with PostgresPhysicalSource(database.address()).capture():
                pass
    finally:
        await database.psql(f"DROP TABLESPACE IF EXISTS {database.name}")
        shutil.rmtree(place)
