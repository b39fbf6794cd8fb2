"""The kind `backup-freshness`: manifests in a bucket and in a directory."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from health_probe.adapters.s3 import S3Login, S3Place
from health_probe.probes.backup_freshness import BackupFreshnessCheck, BucketShelf, DirectoryShelf
from yaoki.clock import SystemClock
from yaoki.events.probe import ErrorClass, ProbeStatus

if TYPE_CHECKING:
    from pathlib import Path

    from health_probe.adapters.network import Network

HOUR_S = 3600.0
LOGIN = S3Login(access_key="yaoki", secret_key="yaoki-secret")


def in_directory(directory: Path, max_age_s: float = HOUR_S) -> BackupFreshnessCheck:
    shelf = DirectoryShelf(directory=str(directory), suffix="manifest.json")
    return BackupFreshnessCheck(shelf=shelf, max_age_s=max_age_s, clock=SystemClock())


def in_bucket(network: Network, port: int, bucket: str, prefix: str = "", login: S3Login = LOGIN) -> Any:
    place = S3Place(endpoint=f"http://127.0.0.1:{port}", bucket=bucket, region="us-east-1", login=login)
    shelf = BucketShelf(network=network, place=place, prefix=prefix, suffix="manifest.json")
    return BackupFreshnessCheck(shelf=shelf, max_age_s=HOUR_S, clock=SystemClock())


def lay(path: Path, age_s: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")
    os.utime(path, (time.time() - age_s,) * 2)


async def test_the_newest_manifest_counts(run: Any, tmp_path: Path) -> None:
    """Data without a manifest is no backup, however new."""
    lay(tmp_path / "a" / "manifest.json", 30 * HOUR_S)
    lay(tmp_path / "b" / "manifest.json", HOUR_S / 2)
    lay(tmp_path / "c" / "data.000", 0)

    fresh = await run(in_directory(tmp_path))
    stale = await run(in_directory(tmp_path, max_age_s=HOUR_S / 4))

    assert fresh.status is ProbeStatus.HEALTHY, fresh
    assert fresh.facts["newest"] == "b/manifest.json"
    assert (stale.status, stale.error_class) == (ProbeStatus.UNHEALTHY, ErrorClass.PROTOCOL)
    assert stale.detail == "the newest backup is 0.5 hours old, at most 15m allowed"


async def test_what_cannot_be_told_is_not_fresh(run: Any, tmp_path: Path) -> None:
    empty = await run(in_directory(tmp_path))
    missing = await run(in_directory(tmp_path / "gone"))
    lay(tmp_path / "manifest.json", -2 * HOUR_S)
    future = await run(in_directory(tmp_path))

    assert (empty.status, empty.detail) == (ProbeStatus.UNHEALTHY, "there is no backup")
    assert (missing.status, missing.phase) == (ProbeStatus.UNHEALTHY, "list")
    assert future.status is ProbeStatus.UNHEALTHY
    assert future.detail.endswith("s in the future")


@pytest_asyncio.fixture
async def bucket(shared_s3_server: Any, unique_prefix: str) -> str:
    await shared_s3_server.create_bucket(unique_prefix)
    return unique_prefix


def put(server: Any, bucket: str, *keys: str) -> None:
    client = server.client()
    try:
        for key in keys:
            client.put_object(Bucket=bucket, Key=key, Body=b"{}")
    finally:
        client.close()


@pytest.mark.real
async def test_a_bucket_is_read_below_its_prefix(
    network: Network, run: Any, shared_s3_server: Any, bucket: str
) -> None:
    await asyncio.to_thread(put, shared_s3_server, bucket, "db/full/1/data.000", "other/full/1/manifest.json")
    none = await run(in_bucket(network, shared_s3_server.port, bucket, "db/"))
    await asyncio.to_thread(put, shared_s3_server, bucket, "db/full/1/manifest.json")
    fresh = await run(in_bucket(network, shared_s3_server.port, bucket, "db/"))

    assert (none.status, none.detail) == (ProbeStatus.UNHEALTHY, "there is no backup")
    assert (fresh.status, fresh.facts["newest"]) == (ProbeStatus.HEALTHY, "db/full/1/manifest.json"), fresh


@pytest.mark.real
async def test_a_listing_that_cannot_be_read_is_unhealthy(
    network: Network, run: Any, shared_s3_server: Any, bucket: str
) -> None:
    """Unknown is not healthy: whoever cannot list cannot restore either."""
    stranger = S3Login(access_key="yaoki", secret_key="wrong")

    result = await run(in_bucket(network, shared_s3_server.port, bucket, login=stranger))

    assert (result.status, result.error_class, result.phase) == (ProbeStatus.UNHEALTHY, ErrorClass.AUTH, "list"), result


ROW = "<Contents><Key>db/{}/manifest.json</Key><LastModified>{}</LastModified><Size>2</Size></Contents>"


def listing(rows: str, token: str = "") -> bytes:
    more = f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    return f'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{rows}{more}</ListBucketResult>'.encode()


async def test_all_pages_of_a_listing_are_read(network: Network, run: Any, listening: Any) -> None:
    """More than 1000 objects, the newest on the last page, over one connection."""
    now = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
    pages = {
        b"continuation-token=a%2Fb": listing(ROW.format(3, now)),
        b"": listing(ROW.format(1, "2020-01-01T00:00:00.000Z") * 1000, "a/b"),
    }
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while head := await reader.readuntil(b"\r\n\r\n"):
            body = next(page for token, page in pages.items() if token in head)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    async with listening(serve) as port:
        result = await run(in_bucket(network, port, "bucket", "db/"))

    assert (result.status, result.facts["newest"]) == (ProbeStatus.HEALTHY, "db/3/manifest.json"), result
    assert connections == 1


BOMB = b'<!DOCTYPE b [<!ENTITY a "aaaaaaaaaa"><!ENTITY c "&a;&a;&a;&a;">]><ListBucketResult>&c;</ListBucketResult>'


@pytest.mark.parametrize(
    "body",
    [b"<html>login</html>", b"", b"<ListBucketResult>", BOMB, listing("<Contents><Key>x</Key></Contents>")],
    ids=["html", "empty", "cut-off", "bomb", "no-date"],
)
async def test_an_answer_that_is_no_listing_is_a_protocol_failure(
    body: bytes, network: Network, run: Any, listening: Any
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await reader.read()

    async with listening(serve) as port:
        result = await run(in_bucket(network, port, "bucket"))

    assert (result.status, result.error_class) == (ProbeStatus.UNHEALTHY, ErrorClass.PROTOCOL), result
