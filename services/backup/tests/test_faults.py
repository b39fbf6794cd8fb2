"""What fails leaves nothing that could be taken for a backup, and says what failed first."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from backup.adapters.directory import DirectoryObjectStore
from backup.adapters.s3 import S3ObjectStore
from backup.errors import BackupError, SourceFailedError, StoreRefusedError, StoreUnavailableError
from yaoki.events.backup import BackupFailureClass
from yaoki.testing import eventually
from yaoki_devstack.diskspace import small_disk
from yaoki_devstack.proxy import TcpProxy

from .conftest import location
from .streams import chunks, noise, opened, sealed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from backup.pipeline.codec import Identity
    from backup.ports import ObjectStore
    from yaoki_devstack.s3 import S3Server

pytestmark = pytest.mark.real

MEGABYTE = 1 << 20


async def remains(store: ObjectStore) -> list[str]:
    """Keys of everything there is, finished or not."""
    finished = [item.key async for item in store.listing("")]
    return finished + [item.key async for item in store.unfinished("")]


@pytest_asyncio.fixture
async def proxy(s3_server: S3Server) -> AsyncIterator[TcpProxy]:
    async with TcpProxy(s3_server.port) as running:
        yield running


@pytest_asyncio.fixture
async def behind(s3_server: S3Server, bucket: str, proxy: TcpProxy) -> AsyncIterator[S3ObjectStore]:
    """The store behind the proxy."""
    store = S3ObjectStore(location(s3_server, bucket, port=proxy.port))
    yield store
    store.close()


async def test_a_source_that_dies_after_its_last_byte_is_no_backup(store: ObjectStore, identity: Identity) -> None:
    """The child's exit status comes after its output: nothing is completed before it is known."""

    async def dying() -> AsyncIterator[bytes]:
        async for chunk in chunks(noise(12 * MEGABYTE)):
            yield chunk
        raise SourceFailedError("pg_dump ended with status 1", advice="Look at the server.")

    with pytest.raises(SourceFailedError, match="status 1"):
        await sealed(store, dying(), identity)

    assert await remains(store) == []


async def test_a_cancelled_backup_leaves_nothing(store: ObjectStore, identity: Identity) -> None:
    """However it is stopped."""
    gate = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        async for chunk in chunks(noise(24 * MEGABYTE)):
            yield chunk
        gate.set()
        await asyncio.Event().wait()

    work = asyncio.create_task(sealed(store, endless(), identity))
    await eventually(gate.is_set, within=30)
    await eventually(lambda: remains(store), within=10)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work

    assert await remains(store) == []


async def test_an_outage_of_the_store_is_waited_for(
    behind: S3ObjectStore, proxy: TcpProxy, s3_store: S3ObjectStore, identity: Identity
) -> None:
    """Connections are reset in the middle of a part, and the store is away for a while."""
    data = noise(24 * MEGABYTE)
    passed = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        async for chunk in chunks(data):
            yield chunk
            if not passed.is_set() and [item async for item in s3_store.unfinished("")]:
                passed.set()
                await proxy.cut()

    async def bring_back() -> None:
        await passed.wait()
        await eventually(lambda: proxy.connections == 0, within=10)
        await proxy.restore()

    returned = asyncio.create_task(bring_back())
    stream = await sealed(behind, slowly(), identity)
    await returned

    assert await opened(s3_store, stream, identity) == data
    assert [item async for item in s3_store.unfinished("")] == []


async def test_a_download_goes_on_after_a_reset(
    behind: S3ObjectStore, proxy: TcpProxy, s3_store: S3ObjectStore, identity: Identity
) -> None:
    """Range by range; what was read is not read again."""
    data = noise(20 * MEGABYTE)
    stream = await sealed(s3_store, chunks(data), identity)
    found = bytearray()
    first = True
    async for chunk in behind.read("t/k/b/data.000"):
        found += chunk
        if first:
            first = False
            await proxy.reset_once()

    assert len(found) == stream.objects[0].size


async def test_a_store_that_stays_away_fails_the_backup(
    behind: S3ObjectStore, proxy: TcpProxy, identity: Identity
) -> None:
    """With the class that says where to look."""
    await proxy.cut()

    with pytest.raises(StoreUnavailableError) as caught:
        await sealed(behind, chunks(noise(MEGABYTE)), identity, patience_s=1.0)

    assert caught.value.failure is BackupFailureClass.CONNECTION


async def test_a_store_that_refuses_is_not_asked_again(s3_server: S3Server, bucket: str, identity: Identity) -> None:
    """Wrong credentials and a bucket that is not there, each with its class; no secret in the message."""
    async with AsyncExitStack() as stack:
        stranger = S3ObjectStore(location(s3_server, bucket, secret_key="hunter2-hunter2"))
        stack.callback(stranger.close)
        elsewhere = S3ObjectStore(location(s3_server, "no-such-bucket"))
        stack.callback(elsewhere.close)

        with pytest.raises(StoreRefusedError) as login:
            await sealed(stranger, chunks(b"x"), identity)
        with pytest.raises(StoreRefusedError) as missing:
            await remains(elsewhere)

    assert login.value.failure is BackupFailureClass.AUTHENTICATION
    assert missing.value.failure is BackupFailureClass.STORAGE
    assert "hunter2" not in str(login.value)


async def test_a_full_disk_fails_the_backup(identity: Identity) -> None:
    """With the class capacity, and the disk is given back."""
    async with small_disk(10 * MEGABYTE) as disk:
        root = disk.path / "repository"
        root.mkdir()
        store = DirectoryObjectStore(root)

        with pytest.raises(BackupError) as caught:
            await sealed(store, chunks(noise(30 * MEGABYTE)), identity)

        assert caught.value.failure is BackupFailureClass.CAPACITY
        assert await remains(store) == []


async def test_the_source_is_not_read_ahead_of_a_slow_store(store: ObjectStore, identity: Identity) -> None:
    """Memory stays constant because reading waits: what was read and is not stored stays under a bound at all times."""
    read = stored = furthest = 0

    async def counted() -> AsyncIterator[bytes]:
        nonlocal read, furthest
        while read < 80 * MEGABYTE:
            yield os.urandom(MEGABYTE)
            read += MEGABYTE
            furthest = max(furthest, read - stored)

    def progress(size: int) -> None:
        nonlocal stored
        stored += size

    await sealed(store, counted(), identity, rate=40 * MEGABYTE, progress=progress)

    assert stored >= read
    assert 0 < furthest < 48 * MEGABYTE
