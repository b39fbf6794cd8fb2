"""A Redis server comes back with every key: through our code, and by redis-server itself."""

from __future__ import annotations

import asyncio
import subprocess
import time
from typing import TYPE_CHECKING

import msgspec
import pytest
import pytest_asyncio
from backup.comparing import differences
from backup.errors import DamagedError, RestoreFailedError, RestoreRefusedError, SourceFailedError
from backup.kinds import RestoreChoices
from backup.sources.rdb import facts_of
from backup.sources.rdb_reader import RdbBrokenError, RdbReader, RdbUnknownError
from backup.sources.redis_dump import RedisSource
from backup.sources.redis_rehearsal import RedisRehearsal
from backup.sources.redis_restorer import RedisRestorer
from backup.sources.redis_server import RedisServer
from backup.stored import StoredBackup
from backup.verifying import Assertion, Verifying
from yaoki.clock import SystemClock
from yaoki.events.backup import BackupFailureClass, VerificationStage
from yaoki.testing import eventually
from yaoki_devstack.binaries import program
from yaoki_devstack.proxy import TcpProxy
from yaoki_devstack.redis import RedisServer as DevRedis

from .taken import repository_in, take

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from backup.adapters.directory import DirectoryObjectStore
    from backup.manifest import Content, Manifest
    from backup.pipeline.codec import Identity
    from backup.repository import Repository

pytestmark = pytest.mark.real

ALL = RestoreChoices()
LONG = "a long name that compresses " * 20

# Every type, in the small form and in the large one.
FILL = """
redis.call('SET', '12', '-300') redis.call('SET', '-70000', 'x') redis.call('SET', KEYS[1], string.rep('v', 5000))
redis.call('SET', 'expires', '1', 'PX', '86400000') redis.call('SET', 'soon', '1', 'PX', '3600000')
for n = 1, 1000 do
  redis.call('SET', 'key:' .. n, n) redis.call('RPUSH', 'large list', string.rep(n, 20))
  redis.call('SADD', 'large set', 'm' .. n) redis.call('SADD', 'numbers', n)
  redis.call('ZADD', 'large zset', n / 3, 'm' .. n) redis.call('HSET', 'large hash', 'f' .. n, n)
  redis.call('XADD', 'stream', n .. '-1', 'field', n)
end
redis.call('XGROUP', 'CREATE', 'stream', 'group', '0')
redis.call('XREADGROUP', 'GROUP', 'group', 'ann', 'COUNT', '10', 'STREAMS', 'stream', '>')
redis.call('RPUSH', 'list', 'a') redis.call('SADD', 'set', 'a') redis.call('ZADD', 'zset', 'inf', 'a', 1, 'b')
redis.call('HSET', 'hash', 'a', 'b') redis.call('SELECT', '5') redis.call('SET', 'elsewhere', 'x')
"""
COUNTS = {"db0": 1000 + 5 + 6 + 5 - 1, "db5": 1}


def counts(contents: tuple[Content, ...]) -> dict[str, int]:
    return {content.name: content.rows for content in contents}


@pytest_asyncio.fixture
async def redis() -> AsyncIterator[DevRedis]:
    """With everything in it."""
    async with DevRedis(name="redis-live", appendonly=False) as server:
        await server.cli("EVAL", FILL, "1", LONG)
        yield server


def address(server: DevRedis, *, port: int | None = None, password: str | None = None) -> RedisServer:
    chosen = server.password if password is None else password
    return RedisServer(host=server.host, port=port or server.port, password=chosen)


@pytest.fixture
def repository(directory_store: DirectoryObjectStore) -> Repository:
    return repository_in(directory_store)


@pytest_asyncio.fixture
async def manifest(redis: DevRedis, repository: Repository, identity: Identity) -> Manifest:
    return await take(repository, RedisSource(address(redis)), identity, target="cache")


@pytest_asyncio.fixture
async def empty() -> AsyncIterator[DevRedis]:
    """Another server, for the copy."""
    async with DevRedis(name="redis-beside", appendonly=True) as server:
        yield server


@pytest.fixture
def rehearsal() -> RedisRehearsal:
    return RedisRehearsal(str(program("redis-server")))


async def test_a_dump_is_counted_and_a_verification_restores_it(
    manifest: Manifest, repository: Repository, identity: Identity, rehearsal: RedisRehearsal
) -> None:
    """What was counted as it passed is what a server of its own has loaded."""
    assert counts(manifest.source.contents) == COUNTS
    assert manifest.source.versions["redis"]
    assert abs((manifest.source.consistent_at - manifest.started_at).total_seconds()) < 60
    backup = StoredBackup(repository, manifest, [identity])
    holds = [
        Assertion(name="a value", question="GET 12", expect="-300"),
        Assertion(name="a member", question="SISMEMBER 'large set' m77", expect="1"),
    ]

    found = await Verifying(rehearsal, SystemClock(), "i").verify(backup, holds)

    assert found.record.passed, found
    assert found.record.stages == tuple(VerificationStage)
    refuses = await Verifying(rehearsal, SystemClock(), "i").verify(backup, [Assertion(name="w", question="SET a b")])
    assert refuses.record.failed_stage is VerificationStage.ASSERTIONS


async def test_it_comes_back_beside_the_live_one(
    redis: DevRedis, empty: DevRedis, manifest: Manifest, repository: Repository, identity: Identity
) -> None:
    """Every value; the copy is a master, and nothing of the live one is touched."""
    backup = StoredBackup(repository, manifest, [identity])
    restorer = RedisRestorer(address(redis), address(empty))

    await restorer.restore(backup, "a1", ALL)

    assert differences(manifest.source.contents, await restorer.contents(backup, "a1")) == ()
    assert await empty.cli("DEBUG", "DIGEST") == await redis.cli("DEBUG", "DIGEST")
    assert (await empty.replication())["role"] == "master"
    assert 0 < int(await empty.cli("PTTL", "soon")) <= 3_600_000


async def test_what_holds_keys_is_not_restored_into(
    redis: DevRedis, empty: DevRedis, manifest: Manifest, repository: Repository, identity: Identity
) -> None:
    """Neither the live server nor any other; a replica of somebody else neither."""
    backup = StoredBackup(repository, manifest, [identity])
    await redis.cli("SET", "written since", "1")
    await empty.cli("SET", "mine", "1")

    for place in (address(redis), address(empty)):
        with pytest.raises(RestoreRefusedError, match="needs it empty"):
            await RedisRestorer(address(redis), place).restore(backup, "a1", ALL)
    with pytest.raises(RestoreRefusedError, match="no server to restore into"):
        await RedisRestorer(address(redis), None).restore(backup, "a1", ALL)
    await empty.cli("CONFIG", "SET", "masterauth", redis.password)
    await empty.cli("REPLICAOF", redis.host, str(redis.port))

    async def linked() -> bool:
        return (await empty.replication())["master_link_status"] == "up"

    await eventually(linked, within=30)
    with pytest.raises(RestoreRefusedError, match="is the replica of"):
        await RedisRestorer(address(redis), address(empty)).restore(backup, "a1", ALL)
    assert await redis.cli("GET", "written since") == "1"


async def test_a_damaged_backup_leaves_the_place_empty(
    *,
    redis: DevRedis,
    empty: DevRedis,
    manifest: Manifest,
    repository: Repository,
    identity: Identity,
    tmp_path: Path,
) -> None:
    """Its last piece is not given away before everything was found right."""
    file = next((tmp_path / "repository").rglob("data.000"))
    file.write_bytes(file.read_bytes()[:-1])
    backup = StoredBackup(repository, manifest, [identity])

    with pytest.raises((DamagedError, RestoreFailedError)):
        await RedisRestorer(address(redis), address(empty)).restore(backup, "a1", ALL)

    assert await empty.cli("DBSIZE") == "0"
    assert (await empty.replication())["role"] == "master"


async def test_keys_that_have_expired_since_are_still_compared(
    redis: DevRedis, repository: Repository, identity: Identity, rehearsal: RedisRehearsal
) -> None:
    """A backup of caches is older than what it holds lives."""
    await redis.cli("SET", "gone at once", "1", "PX", "1")
    await redis.cli("DEBUG", "SET-ACTIVE-EXPIRE", "0")
    await redis.cli("SET", "gone soon", "1", "PX", "50")
    deadline = time.time() + 0.05
    manifest = await take(repository, RedisSource(address(redis)), identity, target="cache")
    await eventually(lambda: time.time() > deadline)

    found = await Verifying(rehearsal, SystemClock(), "i").verify(StoredBackup(repository, manifest, [identity]))

    assert counts(manifest.source.contents)["db0"] > COUNTS["db0"]
    assert found.record.passed, found


async def test_redis_reads_it_without_us(
    manifest: Manifest, repository: Repository, identity: Identity, tmp_path: Path, tool: dict[str, str]
) -> None:
    """Cat data.* | age -d | zstd -d > dump.rdb, which redis-check-rdb and redis-server take."""
    key, home = tmp_path / "key.txt", tmp_path / "by hand"
    key.write_text(str(identity), encoding="utf-8")
    home.mkdir()
    stored = tmp_path / "repository" / repository.directory_of(manifest)
    line = f"cat {stored}/data.* | {tool['age']} -d -i {key} | {tool['zstd']} -dc > '{home}/dump.rdb'"
    await asyncio.to_thread(subprocess.run, ["sh", "-ec", line], check=True)

    with (home / "dump.rdb").open("rb") as file:
        assert facts_of(RdbReader(lambda: file.read(777))).contents == manifest.source.contents
    async with DevRedis(name="by-hand", appendonly=False) as server:
        await server.stop()
        (home / "dump.rdb").rename(server.data_dir / "dump.rdb")
        await server.start()
        assert await server.cli("DBSIZE") == str(COUNTS["db0"])


@pytest.mark.parametrize(
    ("password", "port", "failure"),
    [("hunter2", None, BackupFailureClass.AUTHENTICATION), (None, 1, BackupFailureClass.CONNECTION)],
)
async def test_what_is_wrong_is_said_without_a_secret(
    password: str | None,
    port: int | None,
    failure: BackupFailureClass,
    *,
    redis: DevRedis,
    repository: Repository,
    identity: Identity,
) -> None:
    source = RedisSource(address(redis, port=port, password=password))

    with pytest.raises(SourceFailedError) as caught:
        await take(repository, source, identity, target="cache")

    assert caught.value.failure is failure
    assert "hunter2" not in caught.value.message + caught.value.advice


@pytest.mark.parametrize("diskless", ["yes", "no"])
async def test_a_connection_that_breaks_in_the_middle_is_no_backup(
    diskless: str, redis: DevRedis, repository: Repository, identity: Identity
) -> None:
    """Whichever way the server sends: from its child, or from its disk."""
    await redis.cli("CONFIG", "SET", "repl-diskless-sync", diskless)
    await redis.cli("CONFIG", "SET", "rdbcompression", "no")
    await redis.cli("EVAL", "for n = 1, 20 do redis.call('SET', 'big' .. n, string.rep('x', 1000000)) end", "0")
    async with TcpProxy(redis.port) as proxy:
        source = RedisSource(address(redis, port=proxy.port))

        async def read_and_cut() -> None:
            async with source.capture() as capture:
                async for _ in capture.stream("data"):
                    await proxy.cut()

        with pytest.raises(SourceFailedError) as caught:
            await read_and_cut()

    assert caught.value.failure is BackupFailureClass.CONNECTION
    whole = await take(repository, RedisSource(address(redis)), identity, target="cache")
    assert counts(whole.source.contents)["db0"] == COUNTS["db0"] + 20


async def test_a_dump_that_is_cut_or_unknown_is_told_apart(redis: DevRedis) -> None:
    """Each cut of a real dump is noticed; what a later version wrote is said to be unknown, not broken."""
    async with RedisSource(address(redis)).capture() as capture:
        dump = b"".join([chunk async for chunk in capture.stream("data")])

    def read(data: bytes) -> None:
        rest = iter([data])
        facts_of(RdbReader(lambda: next(rest, b"")))

    read(dump)
    for end in [0, 5, 9, len(dump) - 1, len(dump) - 9, *range(100, len(dump), len(dump) // 50)]:
        with pytest.raises((RdbBrokenError, RdbUnknownError)):
            read(dump[:end])
    with pytest.raises(RdbBrokenError, match="follow its end"):
        read(dump + b"x")
    with pytest.raises(RdbUnknownError, match="type 243"):
        read(dump[:9] + bytes([243]) + dump[9:])


async def test_the_place_that_a_dead_process_left_half_way_is_used_again(
    redis: DevRedis, empty: DevRedis, manifest: Manifest, repository: Repository, identity: Identity
) -> None:
    """It follows a master at our address that is gone."""
    await empty.cli("REPLICAOF", "127.0.0.1", "1")
    backup = StoredBackup(repository, manifest, [identity])
    restorer = RedisRestorer(address(redis), msgspec.structs.replace(address(empty)))

    await restorer.restore(backup, "a1", ALL)

    assert await empty.cli("DBSIZE") == str(COUNTS["db0"])
