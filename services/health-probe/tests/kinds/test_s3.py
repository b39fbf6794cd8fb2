"""The kind `s3` against a real object store, and against what is none."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from health_probe.adapters.s3 import S3Login, S3Place
from health_probe.probes.s3 import S3Check
from yaoki.events.probe import ErrorClass, ProbeStatus
from yaoki_devstack.proxy import TcpProxy

if TYPE_CHECKING:
    from health_probe.adapters.network import Network

SECRET = "yaoki-secret"
LOGIN = S3Login(access_key="yaoki", secret_key=SECRET)


@pytest_asyncio.fixture
async def bucket(shared_s3_server: Any, unique_prefix: str) -> str:
    await shared_s3_server.create_bucket(unique_prefix)
    return unique_prefix


def place(port: int, bucket: str, login: S3Login = LOGIN) -> S3Place:
    return S3Place(endpoint=f"http://127.0.0.1:{port}", bucket=bucket, region="us-east-1", login=login)


def check(network: Network, where: S3Place, encryption: str | None = None) -> S3Check:
    return S3Check(network=network, place=where, prefix="probe of ~yaoki/+ü/", encryption=encryption)


def keys(server: Any, bucket: str) -> list[str]:
    client = server.client()
    try:
        return [one["Key"] for one in client.list_objects_v2(Bucket=bucket).get("Contents", [])]
    finally:
        client.close()


@pytest.mark.real
@pytest.mark.parametrize("encryption", [None, "AES256"])
async def test_an_object_goes_and_comes_back_and_nothing_stays(
    encryption: str | None, network: Network, run: Any, shared_s3_server: Any, bucket: str
) -> None:
    result = await run(check(network, place(shared_s3_server.port, bucket), encryption))

    assert (result.status, result.phase) == (ProbeStatus.HEALTHY, "verdict"), result
    assert await asyncio.to_thread(keys, shared_s3_server, bucket) == []


@pytest.mark.real
@pytest.mark.parametrize(
    "login",
    [
        S3Login(access_key="yaoki", secret_key="wrong-" + SECRET),
        S3Login(access_key="nobody", secret_key=SECRET),
    ],
    ids=["secret", "key"],
)
async def test_wrong_credentials_are_a_failure_of_auth(
    login: S3Login, network: Network, run: Any, shared_s3_server: Any, bucket: str
) -> None:
    result = await run(check(network, place(shared_s3_server.port, bucket, login)))

    assert (result.status, result.error_class, result.phase) == (ProbeStatus.UNHEALTHY, ErrorClass.AUTH, "put"), result
    assert login.secret_key not in repr(result)


@pytest.mark.real
async def test_a_store_that_is_slow_away_or_cut_off_is_told_apart(
    network: Network, run: Any, run_out: Any, shared_s3_server: Any, bucket: str
) -> None:
    async with TcpProxy(shared_s3_server.port) as proxy:
        proxy.delay(0.02)
        slow = await run(check(network, place(proxy.port, bucket)))
        proxy.blackhole()
        hanging = await run_out(check(network, place(proxy.port, bucket)), lambda result: result.phase == "put")
        await proxy.cut()
        away = await run(check(network, place(proxy.port, bucket)))

    assert slow.status is ProbeStatus.HEALTHY, slow
    assert slow.response_ms > 100
    assert (hanging.error_class, hanging.phase) == (ErrorClass.TIMEOUT, "put")
    assert (away.error_class, away.phase) in ((ErrorClass.REFUSED, "connect"), (ErrorClass.REFUSED, "put")), away


def answering(status: int, body: bytes) -> Any:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))
            await writer.drain()

    return answer


@pytest.mark.parametrize(
    ("status", "code", "error_class"),
    [
        (503, "SlowDown", ErrorClass.CAPACITY),
        (507, "XMinioStorageFull", ErrorClass.CAPACITY),
        (403, "RequestTimeTooSkewed", ErrorClass.LOCAL),
        (403, "AccessDenied", ErrorClass.AUTH),
        (404, "NoSuchBucket", ErrorClass.PROTOCOL),
        (500, "InternalError", ErrorClass.PROTOCOL),
    ],
)
async def test_the_code_of_a_refusal_decides_its_class(  # noqa: PLR0917 - fixtures
    status: int, code: str, error_class: ErrorClass, network: Network, run: Any, listening: Any
) -> None:
    body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{SECRET}</Message></Error>'.encode()
    async with listening(answering(status, body)) as port:
        result = await run(check(network, place(port, "bucket")))

    assert result.error_class is error_class, result
    assert result.detail == f"put in bucket bucket was answered {status}: {code}"


async def test_other_bytes_than_were_stored_are_a_failure(network: Network, run: Any, listening: Any) -> None:
    async def forgetful(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(3):
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"PUT"):
                await reader.readexactly(256)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlost")

    async with listening(forgetful) as port:
        result = await run(check(network, place(port, "bucket")))

    assert (result.error_class, result.detail) == (
        ErrorClass.PROTOCOL,
        "other bytes came back than were stored",
    ), result


async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + bytes(1000):
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.01)


async def flood(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
    while True:
        writer.write(b"x" * 65536)
        await writer.drain()


@pytest.mark.parametrize(
    ("behaviour", "error_class"), [(drip, ErrorClass.TIMEOUT), (flood, ErrorClass.PROTOCOL)], ids=["drip", "1 GB"]
)
async def test_a_store_that_drips_or_floods_is_cut_off(
    behaviour: Any, error_class: ErrorClass, network: Network, run_out: Any, listening: Any
) -> None:
    async with listening(behaviour) as port:
        result = await run_out(check(network, place(port, "bucket")), lambda result: result.error_class is error_class)

    assert (result.status, result.error_class, result.phase) == (ProbeStatus.UNHEALTHY, error_class, "put"), result
