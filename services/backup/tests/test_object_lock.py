"""What a bucket with object lock keeps stays, whoever wants it gone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import pytest
from backup.adapters.s3 import S3ObjectStore
from botocore.exceptions import ClientError

from .conftest import location

if TYPE_CHECKING:
    from yaoki_devstack.s3 import S3Server


@pytest.mark.real
async def test_locked_objects_outlive_their_deletion(s3_server: S3Server, unique_prefix: str) -> None:
    """A delete only hides them: each version is there until the lock lapses; data and manifests alike."""
    await s3_server.create_bucket(unique_prefix, object_lock=True)
    store = S3ObjectStore(msgspec.structs.replace(location(s3_server, unique_prefix), lock_days=1))
    upload = await store.begin("t/data.000")
    await upload.put(1, 0, b"data")
    await upload.finish(parts=1, size=4)
    await store.put_once("t/manifest.json", b"{}")

    await store.delete(["t/data.000", "t/manifest.json"])
    store.close()

    client = s3_server.client()
    versions = (await asyncio.to_thread(client.list_object_versions, Bucket=unique_prefix))["Versions"]
    for version in versions:
        with pytest.raises(ClientError, match="AccessDenied"):
            client.delete_object(Bucket=unique_prefix, Key=version["Key"], VersionId=version["VersionId"])
    client.close()
    assert sorted(version["Key"] for version in versions) == ["t/data.000", "t/manifest.json"]
