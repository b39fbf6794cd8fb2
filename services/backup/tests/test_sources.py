"""Every source, its rehearsal and its restorer keep the contracts of `ports` and `kinds`."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

import msgspec
import pytest
import pytest_asyncio
from backup.adapters.accounts import account_of
from backup.comparing import differences
from backup.errors import SourceFailedError
from backup.kinds import Kind, RestoreChoices
from backup.sources.cluster_rehearsal import ClusterRehearsal
from backup.sources.cluster_restorer import ClusterRestorer
from backup.sources.file_tree import FileTreeSource
from backup.sources.postgres_logical import PostgresLogicalSource
from backup.sources.postgres_physical import PostgresPhysicalSource
from backup.sources.postgres_rehearsal import PostgresRehearsal
from backup.sources.postgres_restorer import PostgresRestorer
from backup.sources.redis_dump import RedisSource
from backup.sources.redis_rehearsal import RedisRehearsal
from backup.sources.redis_restorer import RedisRestorer
from backup.sources.redis_server import RedisServer
from backup.sources.tree_rehearsal import TreeRehearsal
from backup.sources.tree_restorer import TreeRestorer
from backup.stored import StoredBackup
from backup.verifying import Verifying
from yaoki.clock import SystemClock
from yaoki.events.backup import VerificationStage
from yaoki_devstack.binaries import program
from yaoki_devstack.postgres_cluster import PostgresCluster
from yaoki_devstack.redis import RedisServer as DevRedis

from .databases import SCHEMA, TestDatabase
from .taken import repository_in, take

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from backup.adapters.directory import DirectoryObjectStore
    from backup.pipeline.codec import Identity
    from backup.ports import Source

pytestmark = pytest.mark.real

CHOICES = RestoreChoices()


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of source with content, and one of the kind that leads nowhere.

    Attributes:
        recorded_again: A second backup of the same content records the same.
    """

    kind: Kind
    absent: Source
    recorded_again: bool = True


def address(server: DevRedis) -> RedisServer:
    return RedisServer(host=server.host, port=server.port, password=server.password)


@pytest.fixture
def files(tmp_path: Path) -> Subject:
    root = tmp_path / "tree"
    root.mkdir()
    for number in range(20):
        (root / f"file {number}").write_bytes(b"content" * number * 1000)
    tree = str(root)
    kind = Kind(source=FileTreeSource(tree), rehearsal=TreeRehearsal(), restorer=TreeRestorer(tree))
    return Subject(kind=kind, absent=FileTreeSource(str(tmp_path / "none")))


@pytest.fixture
def logical(database: TestDatabase) -> Subject:
    server = database.address()
    kind = Kind(
        source=PostgresLogicalSource(server),
        rehearsal=PostgresRehearsal(binaries=server.binaries, account=account_of(None)),
        restorer=PostgresRestorer(server, "postgres"),
    )
    return Subject(kind=kind, absent=PostgresLogicalSource(database.address(port=1)))


@pytest_asyncio.fixture
async def physical(tmp_path: Path) -> AsyncIterator[Subject]:
    """On a server of its own: a whole cluster is read, and the shared one holds what other tests left."""
    async with PostgresCluster(standbys=0) as cluster:
        database = TestDatabase(cluster.primary, cluster.primary.credentials.database)
        await database.psql("CREATE ROLE app_reader LOGIN")
        await database.psql(SCHEMA)
        server, account = database.address(), account_of(None)
        kind = Kind(
            source=PostgresPhysicalSource(server),
            rehearsal=ClusterRehearsal(binaries=server.binaries, account=account),
            restorer=ClusterRestorer(str(tmp_path / "restored"), server, account),
        )
        # A running server is never twice the same, file by file.
        yield Subject(kind=kind, absent=PostgresPhysicalSource(database.address(port=1)), recorded_again=False)


@pytest.fixture
async def redis() -> AsyncIterator[Subject]:
    async with DevRedis(name="live", appendonly=False) as live, DevRedis(name="beside", appendonly=False) as beside:
        await live.cli("EVAL", "for n = 1, 5000 do redis.call('SET', 'key:' .. n, string.rep(n, 50)) end", "0")
        kind = Kind(
            source=RedisSource(address(live)),
            rehearsal=RedisRehearsal(str(program("redis-server"))),
            restorer=RedisRestorer(address(live), address(beside)),
        )
        yield Subject(kind=kind, absent=RedisSource(RedisServer(host=live.host, port=1)))


@pytest.fixture(params=["files", "logical", "physical", "redis"])
def subject(request: pytest.FixtureRequest) -> Subject:
    """Each kind in turn."""
    chosen: Subject = request.getfixturevalue(request.param)
    return chosen


async def test_a_stream_can_be_left_and_the_source_read_again(subject: Subject) -> None:
    """Whoever produces it is stopped; nothing of it stands in the way of the next reader."""
    for _ in range(2):
        async with (
            subject.kind.source.capture() as capture,
            aclosing(capture.stream(capture.streams[-1])) as stream,
        ):
            assert await anext(aiter(stream))


async def test_what_is_not_there_is_an_error_that_says_what_to_do(
    subject: Subject, directory_store: DirectoryObjectStore, identity: Identity
) -> None:
    """Never an empty backup."""
    repository = repository_in(directory_store)

    with pytest.raises(SourceFailedError) as caught:
        await take(repository, subject.absent, identity)

    assert caught.value.advice
    assert (await repository.catalogue()).entries == ()


async def test_it_is_taken_verified_and_restored_beside(
    subject: Subject, directory_store: DirectoryObjectStore, identity: Identity
) -> None:
    """What was recorded is what both copies hold; the restore can be repeated and taken back."""
    kind, repository = subject.kind, repository_in(directory_store)

    manifest = await take(repository, kind.source, identity)
    backup = StoredBackup(repository, manifest, [identity])
    recorded = manifest.source.contents
    assert recorded
    assert all(content.fingerprint for content in recorded)
    assert manifest.kind == kind.source.kind

    found = await Verifying(kind.rehearsal, SystemClock(), "i").verify(backup)
    assert found.record.stages == tuple(VerificationStage), found

    for _ in range(2):
        await kind.restorer.restore(backup, "0a1b2c3d", CHOICES)
        assert differences(recorded, await kind.restorer.contents(backup, "0a1b2c3d")) == ()
        assert await kind.restorer.swapped("0a1b2c3d") == ""
    await kind.restorer.discard("0a1b2c3d")
    await kind.restorer.discard("0a1b2c3d")

    again = await take(repository, kind.source, identity)
    assert (differences(recorded, again.source.contents) == ()) == subject.recorded_again
