"""A restored database is complete, stands beside the live one, and takes its place at once or not at all."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import asyncpg
import pytest
import pytest_asyncio
from backup.errors import BackupError, DamagedError, RestoreFailedError
from backup.pipeline.codec import Identity
from backup.sources.postgres_logical import PostgresLogicalSource
from backup.sources.postgres_restore import RestoreOptions, contents_of, database_names, restore_database
from backup.sources.postgres_swap import beside, swap
from backup.stored import StoredBackup
from yaoki.testing import eventually

from .taken import repository_in, take

if TYPE_CHECKING:
    from pathlib import Path

    from backup.adapters.directory import DirectoryObjectStore

    from .databases import TestDatabase

pytestmark = pytest.mark.real


@pytest_asyncio.fixture
async def backup(database: TestDatabase, directory_store: DirectoryObjectStore, identity: Identity) -> StoredBackup:
    """Of the database as the test finds it."""
    repository = repository_in(directory_store)
    manifest = await take(repository, PostgresLogicalSource(database.address()), identity)
    return StoredBackup(repository, manifest, [identity])


async def test_a_restored_database_is_the_one_that_was_backed_up(database: TestDatabase, backup: StoredBackup) -> None:
    """Content, owners, privileges and the settings of the database itself."""
    name = f"{database.name}_new"
    await database.psql("DROP TABLE orders CASCADE")

    await restore_database(database.address("postgres"), name, backup, RestoreOptions())

    restored = database.address(name)
    assert await contents_of(restored, backup) == backup.manifest.source.contents
    ask = database.server.psql
    assert await ask("SELECT has_table_privilege('app_reader', 'orders', 'SELECT')", database=name) == "t"
    assert await ask("SELECT count(*) FROM cheap", database=name) == "7"
    assert await ask("SHOW statement_timeout", database=name) == "1h"
    owner = await ask(f"SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = '{name}'")  # noqa: S608 - a name of this test
    assert owner == "yaoki_app"


async def test_owners_and_privileges_can_be_left_out(database: TestDatabase, backup: StoredBackup) -> None:
    """The backup is complete; what is restored of it is chosen now."""
    name = f"{database.name}_new"
    options = RestoreOptions(owners=False, privileges=False)

    await restore_database(database.address("postgres"), name, backup, options)

    ask = database.server.psql
    assert await ask("SELECT has_table_privilege('app_reader', 'orders', 'SELECT')", database=name) == "f"
    owner = await ask(f"SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = '{name}'")  # noqa: S608 - a name of this test
    assert owner == "postgres"


async def test_a_restore_that_fails_leaves_nothing(
    database: TestDatabase, backup: StoredBackup, tmp_path: Path
) -> None:
    """Damage behind the first tables, and a database that is there already."""
    server, name = database.address("postgres"), f"{database.name}_new"
    before = await database_names(server)

    with pytest.raises(RestoreFailedError, match="exists already"):
        await restore_database(server, database.name, backup, RestoreOptions())
    file = next((tmp_path / "repository").rglob("data.000"))
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises((DamagedError, RestoreFailedError)):
        await restore_database(server, name, backup, RestoreOptions())

    assert await database_names(server) == before


async def test_a_key_that_does_not_fit_restores_nothing(database: TestDatabase, backup: StoredBackup) -> None:
    stranger = StoredBackup(backup._repository, backup.manifest, [Identity.generate()])  # noqa: SLF001 - the same backup with another key
    before = await database_names(database.address("postgres"))

    with pytest.raises(BackupError, match="none of the 1 identities"):
        await restore_database(database.address("postgres"), f"{database.name}_new", stranger, RestoreOptions())

    assert await database_names(database.address("postgres")) == before


async def test_the_swap_happens_under_load(database: TestDatabase) -> None:
    """Clients that reconnect at once do not keep it from happening; none sees neither database."""
    server, live, kept = database.address("postgres"), database.name, f"{database.name}_kept"
    replacement = await database.create_beside()
    await database.server.psql("CREATE TABLE mark AS SELECT 'new' AS word", database=replacement.database)
    await database.psql("CREATE TABLE mark AS SELECT 'old' AS word")
    seen: list[str] = []
    stop = asyncio.Event()

    async def client() -> None:
        while not stop.is_set():
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
                connection = await asyncpg.connect(
                    host=server.host,
                    port=server.port,
                    user=server.user,
                    password=server.password,
                    database=live,
                    timeout=5,
                )
                try:
                    while not stop.is_set():
                        seen.append(await connection.fetchval("SELECT word FROM mark"))
                finally:
                    connection.terminate()

    clients = [asyncio.create_task(client()) for _ in range(4)]
    await eventually(lambda: len(seen) > 20)
    await swap(server, live=live, replacement=replacement.database, kept=kept)
    await swap(server, live=live, replacement=replacement.database, kept=kept)
    await eventually(lambda: seen[-1] == "new")
    stop.set()
    await asyncio.gather(*clients)

    assert seen == sorted(seen, reverse=True)
    assert await database.server.psql("SELECT word FROM mark", database=kept) == "old"

    await swap(server, live=live, replacement=kept, kept=f"{live}_rejected")

    assert await database.server.psql("SELECT word FROM mark", database=live) == "old"


async def test_a_swap_that_cannot_finish_changes_nothing(database: TestDatabase) -> None:
    """The name that the live one would get is taken: the first rename is not left alone."""
    server, live = database.address("postgres"), database.name
    replacement = await database.create_beside()
    before = await database_names(server)

    with pytest.raises(BackupError):
        await swap(server, live=live, replacement=replacement.database, kept="orders_template")
    with pytest.raises(RestoreFailedError, match="no database 'nowhere'"):
        await swap(server, live=live, replacement="nowhere", kept=f"{live}_kept")

    assert await database_names(server) == before


async def test_the_replacement_takes_the_name_of_a_database_that_is_gone(database: TestDatabase) -> None:
    """After a disaster there is nothing to keep."""
    server = database.address("postgres")
    replacement = await database.create_beside()

    await swap(server, live=f"{database.name}_gone", replacement=replacement.database, kept="unused")

    names = await database_names(server)
    assert f"{database.name}_gone" in names
    assert replacement.database not in names


def test_names_beside_a_long_one_stay_apart() -> None:
    """PostgreSQL would cut them at 63 bytes to one and the same."""
    live = "ü" * 31
    names = {beside(live, what, "0a1b2c3d") for what in ("restored", "replaced")}

    assert len(names) == 2
    assert all(len(name.encode()) <= 63 and name.endswith("_0a1b2c3d") for name in names)
