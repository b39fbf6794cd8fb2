"""A logical backup sees one snapshot, and says what is in it."""

from __future__ import annotations

import asyncio
import subprocess
from contextlib import aclosing
from typing import TYPE_CHECKING

import msgspec
import psutil
import pytest
from backup.errors import SourceFailedError
from backup.sources.postgres_logical import PostgresLogicalSource
from yaoki.events.backup import BackupFailureClass
from yaoki_devstack.proxy import TcpProxy

from .databases import TABLES
from .streams import sealed
from .taken import repository_in, take

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from backup.adapters.directory import DirectoryObjectStore
    from backup.pipeline.codec import Identity
    from backup.ports import Capture

    from .databases import TestDatabase

pytestmark = pytest.mark.real


async def test_everything_is_counted_and_the_tools_restore_it(
    database: TestDatabase,
    directory_store: DirectoryObjectStore,
    identity: Identity,
    tmp_path: Path,
    tool: dict[str, str],
) -> None:
    """With nothing but the bucket's bytes, age, zstd and pg_restore."""
    repository = repository_in(directory_store)

    backup = await take(repository, PostgresLogicalSource(database.address()), identity)

    assert {content.name: content.rows for content in backup.source.contents} == TABLES
    assert all(content.fingerprint for content in backup.source.contents)
    assert [stream.name for stream in backup.streams] == ["globals", "data"]
    assert (await repository.catalogue()).entries[0].manifest == backup
    key = tmp_path / "key.txt"
    key.write_text(str(identity), encoding="utf-8")
    again = await database.create_beside()
    stored = tmp_path / "repository" / repository.directory_of(backup)
    restore = f"{again.program('pg_restore')} --exit-on-error -d {again.database}"
    line = f"cat {stored}/data.* | {tool['age']} -d -i {key} | {tool['zstd']} -dc | {restore}"
    environment = {"PATH": "/usr/bin:/bin", **again.environment()}
    await asyncio.to_thread(
        subprocess.run, ["sh", "-ec", line], check=True, env={"PATH": "/usr/bin:/bin", **environment}
    )

    async with PostgresLogicalSource(again).capture() as capture:
        assert (await capture.facts()).contents == backup.source.contents


async def test_what_is_written_meanwhile_is_in_neither_the_dump_nor_the_counts(
    database: TestDatabase,
) -> None:
    """The snapshot is exported before the first byte is read."""
    async with PostgresLogicalSource(database.address()).capture() as capture:
        await database.psql("INSERT INTO empty VALUES (1); DELETE FROM events")
        counts = {content.name: content.rows for content in (await capture.facts()).contents}
        dump = b"".join([chunk async for chunk in capture.stream("data")])

    assert counts == TABLES
    assert dump.startswith(b"PGDMP")
    assert dump.count(b"\tevent\n") == 100


async def test_one_changed_value_changes_the_fingerprint_of_its_table(database: TestDatabase) -> None:
    """And only of its table; the order of rows does not matter."""

    async def fingerprints() -> dict[str, str]:
        async with PostgresLogicalSource(database.address()).capture() as capture:
            return {content.name: content.fingerprint for content in (await capture.facts()).contents}

    before = await fingerprints()
    await database.psql("UPDATE events SET body = body WHERE at < '2026-02-01'")
    assert await fingerprints() == before

    await database.psql("UPDATE orders SET ratio = ratio + 1e-15 WHERE id = 1")
    after = await fingerprints()

    assert {name for name in before if before[name] != after[name]} == {"public.orders"}


async def test_chosen_tables_only(
    database: TestDatabase, directory_store: DirectoryObjectStore, identity: Identity
) -> None:
    """Their names are taken literally; one that is not there fails the backup."""
    chosen = ("public.orders", 'Odd "Schema".T.able')

    backup = await take(
        repository_in(directory_store), PostgresLogicalSource(database.address(), tables=chosen), identity
    )

    assert {content.name for content in backup.source.contents} == set(chosen)
    source = PostgresLogicalSource(database.address(), tables=("public.orders", "public.order*"))
    with pytest.raises(SourceFailedError):
        await take(repository_in(directory_store), source, identity)


async def test_a_user_who_may_not_read_everything_takes_no_backup(
    database: TestDatabase, directory_store: DirectoryObjectStore, identity: Identity
) -> None:
    """A dump without the rows that a policy hides would look complete."""
    await database.psql(
        "ALTER TABLE orders ENABLE ROW LEVEL SECURITY; CREATE ROLE app_auditor LOGIN PASSWORD 'auditor-secret'; "
        "GRANT pg_read_all_data TO app_auditor",
    )
    reader = msgspec.structs.replace(database.address(), user="app_auditor", password="auditor-secret")

    with pytest.raises(SourceFailedError) as caught:
        await take(repository_in(directory_store), PostgresLogicalSource(reader), identity)

    assert caught.value.failure is BackupFailureClass.AUTHENTICATION
    assert (await repository_in(directory_store).catalogue()).entries == ()


@pytest.mark.parametrize(
    ("changed", "failure"),
    [
        ({"password": "hunter2"}, BackupFailureClass.AUTHENTICATION),
        ({"port": 1}, BackupFailureClass.CONNECTION),
        ({"database": "nowhere"}, BackupFailureClass.SOURCE),
        ({"binaries": "/nowhere"}, BackupFailureClass.SOURCE),
    ],
)
async def test_what_is_wrong_is_said_without_a_secret(
    changed: dict[str, object],
    failure: BackupFailureClass,
    database: TestDatabase,
    directory_store: DirectoryObjectStore,
    identity: Identity,
) -> None:
    source = PostgresLogicalSource(msgspec.structs.replace(database.address(), **changed))

    with pytest.raises(SourceFailedError) as caught:
        await take(repository_in(directory_store), source, identity)

    assert caught.value.failure is failure, caught.value.message
    assert caught.value.advice
    assert "hunter2" not in caught.value.message
    assert [item async for item in directory_store.unfinished("")] == []


async def test_a_connection_that_breaks_in_the_middle_of_the_dump_is_no_backup(
    database: TestDatabase, directory_store: DirectoryObjectStore, identity: Identity
) -> None:
    """pg_dump dies after it has written a good part."""
    await database.psql(
        "CREATE TABLE big AS SELECT n, repeat(md5(n::text), 30) AS body FROM generate_series(1, 60000) AS n",
    )
    async with TcpProxy(database.server.port) as proxy:
        source = PostgresLogicalSource(database.address(port=proxy.port))

        async def cut_after_the_first_piece(capture: Capture) -> AsyncIterator[bytes]:
            async with aclosing(capture.stream("data")) as stream:
                async for chunk in stream:
                    yield chunk
                    await proxy.cut()

        async def back_up() -> None:
            async with source.capture() as capture:
                await sealed(directory_store, cut_after_the_first_piece(capture), identity)

        with pytest.raises(SourceFailedError) as caught:
            await back_up()

    assert caught.value.failure is BackupFailureClass.CONNECTION
    assert [item async for item in directory_store.listing("")] == []
    assert [item async for item in directory_store.unfinished("")] == []


async def test_no_secret_stands_in_the_arguments_of_a_child(database: TestDatabase) -> None:
    """Everybody on the machine can read them. The dump is larger than the pipe, so that the child is still there."""
    await database.psql("CREATE TABLE big AS SELECT repeat(md5(n::text), 30) FROM generate_series(1, 12000) AS n")
    async with (
        PostgresLogicalSource(database.address()).capture() as capture,
        aclosing(capture.stream("data")) as stream,
    ):
        await anext(aiter(stream))
        children = [" ".join(child.cmdline()) for child in psutil.Process().children()]

    dumps = [line for line in children if "pg_dump" in line]
    assert len(dumps) == 1
    assert database.server.credentials.superuser_password not in dumps[0]
