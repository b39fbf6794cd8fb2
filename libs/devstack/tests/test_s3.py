"""The S3 endpoint keeps versions and honours locks."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from yaoki_devstack.s3 import S3Server

pytestmark = pytest.mark.real


async def test_versions_locks_and_credentials() -> None:
    async with S3Server() as server:
        await server.create_bucket("versions", versioned=True)
        await server.create_bucket("locked", object_lock=True)
        await asyncio.to_thread(check_versions, server)
        await asyncio.to_thread(check_lock, server)
        await asyncio.to_thread(check_credentials, server)
        await server.kill()
        await server.start()
        client = server.client()
        found = await asyncio.to_thread(client.get_object, Bucket="versions", Key="key")
        assert found["Body"].read() == b"two"
        client.close()


def check_versions(server: S3Server) -> None:
    client = server.client()
    first = client.put_object(Bucket="versions", Key="key", Body=b"one")["VersionId"]
    client.put_object(Bucket="versions", Key="key", Body=b"two")
    assert client.get_object(Bucket="versions", Key="key")["Body"].read() == b"two"
    assert client.get_object(Bucket="versions", Key="key", VersionId=first)["Body"].read() == b"one"
    client.close()


def check_lock(server: S3Server) -> None:
    client = server.client()
    version = client.put_object(
        Bucket="locked",
        Key="key",
        Body=b"kept",
        ObjectLockMode="COMPLIANCE",
        ObjectLockRetainUntilDate=datetime.now(UTC) + timedelta(hours=1),
    )["VersionId"]
    with pytest.raises(ClientError, match="AccessDenied"):
        client.delete_object(Bucket="locked", Key="key", VersionId=version)
    assert client.get_object(Bucket="locked", Key="key")["Body"].read() == b"kept"
    client.close()


def check_credentials(server: S3Server) -> None:
    stranger = boto3.client(
        "s3",
        endpoint_url=server.url,
        aws_access_key_id="stranger",
        aws_secret_access_key="guessed",
        region_name=server.region,
        config=Config(retries={"max_attempts": 1}),
    )
    with pytest.raises(ClientError):
        stranger.list_buckets()
    stranger.close()
