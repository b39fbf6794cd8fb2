"""Objects in a bucket of S3 or of a store that speaks its protocol."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal, TypeVar

import boto3
import msgspec
from botocore.config import Config

from backup.adapters.s3_errors import refused, translated
from backup.adapters.s3_uploads import S3Upload, content_md5
from backup.errors import ObjectExistsError, ObjectLockedError, StoreRefusedError
from backup.ports import ObjectInfo, UnfinishedUpload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from typing import Any

    from types_boto3_s3 import S3Client

T = TypeVar("T")

_CALLS: Final = 6
_RANGE: Final = 8 << 20
_BATCH: Final = 1_000
_CONNECT_S: Final = 10
_ANSWER_S: Final = 60


class S3Location(msgspec.Struct, frozen=True, kw_only=True):
    """A bucket, who reads and writes it, and how objects are kept.

    Attributes:
        endpoint: None for AWS.
        access_key: With `secret_key`; None for the machine's own role.
        storage_class: Of data; manifests stay in the standard class, because they are read all the time.
        encryption: Of the server, on top of our own; empty where the store has none.
        ca_file: Authorities to trust.
        lock_days: Nobody can delete or replace an object for so long; the bucket needs object lock. 0 for no lock.
        lock_mode: `COMPLIANCE`: also not its owner. `GOVERNANCE`: except with a special permission.
    """

    bucket: str
    endpoint: str | None = None
    region: str = "us-east-1"
    access_key: str | None = None
    secret_key: str | None = None
    session_token: str | None = None
    storage_class: str = "STANDARD_IA"
    encryption: str = "AES256"
    ca_file: str | None = None
    lock_days: int = 0
    lock_mode: Literal["COMPLIANCE", "GOVERNANCE"] = "COMPLIANCE"


class S3ObjectStore:
    """See `ports.ObjectStore`. Blocking calls run in threads of its own; close it."""

    def __init__(self, location: S3Location) -> None:
        self._location = location
        self._client = _client(location)
        self._pool = ThreadPoolExecutor(_CALLS, thread_name_prefix=f"s3-{location.bucket}")

    def close(self) -> None:
        """Let go of connections; calls under way end by themselves."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    async def begin(self, key: str) -> S3Upload:
        """See `ObjectStore.begin`."""
        location = self._location
        answer = await self._call(
            key,
            lambda: self._client.create_multipart_upload(
                Bucket=location.bucket, Key=key, **self._kept(location.storage_class)
            ),
        )
        return S3Upload(
            self._client,
            self._call,
            bucket=location.bucket,
            key=key,
            upload_id=answer["UploadId"],
            digests=location.lock_days > 0,
        )

    async def put_once(self, key: str, body: bytes) -> None:
        """See `ObjectStore.put_once`: a conditional put; its lost answer is settled by reading."""
        try:
            await self._call(
                key,
                lambda: self._client.put_object(
                    Bucket=self._location.bucket,
                    Key=key,
                    Body=body,
                    IfNoneMatch="*",
                    ContentMD5=content_md5(body),
                    **self._kept("STANDARD"),
                ),
            )
        except ObjectExistsError:
            if await self.get(key, limit=max(len(body), 1)) != body:
                raise

    async def get(self, key: str, *, limit: int) -> bytes:
        """See `ObjectStore.get`."""

        def read() -> bytes:
            answer = self._client.get_object(Bucket=self._location.bucket, Key=key)
            body = answer["Body"]
            try:
                if answer["ContentLength"] > limit:
                    raise StoreRefusedError(
                        f"object {key} has {answer['ContentLength']} bytes, expected at most {limit}",
                        advice="Look at the object: it is not what its name says.",
                    )
                return body.read()
            finally:
                body.close()

        return await self._call(key, read)

    async def read(self, key: str) -> AsyncIterator[bytes]:
        """See `ObjectStore.read`: range by range, so that each can be repeated."""
        size = await self._size(key)
        for start in range(0, size, _RANGE):
            yield await self._range(key, start, min(start + _RANGE, size))

    async def listing(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        """See `ObjectStore.listing`."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._location.bucket, Prefix=prefix)
        async for page in self._pages(prefix, iter(pages)):
            for item in page.get("Contents", ()):
                yield ObjectInfo(key=item["Key"], size=item["Size"], modified=item["LastModified"])

    async def delete(self, keys: Sequence[str]) -> None:
        """See `ObjectStore.delete`."""
        failed: dict[str, str] = {}
        for start in range(0, len(keys), _BATCH):
            batch = keys[start : start + _BATCH]
            answer = await self._call(
                batch[0],
                lambda batch=batch: self._client.delete_objects(  # type: ignore[misc]  # mypy infers no type for a lambda with defaults
                    Bucket=self._location.bucket, Delete={"Objects": [{"Key": key} for key in batch], "Quiet": True}
                ),
            )
            failed |= {error.get("Key", "?"): error.get("Code", "?") for error in answer.get("Errors", ())}
        if failed:
            key, code = next(iter(failed.items()))
            sentence = f"{len(failed)} of {len(keys)} objects were not deleted, the first is {key}"
            if code in {"AccessDenied", "InvalidRequest", "ObjectLocked"}:
                raise ObjectLockedError(
                    f"{sentence} ({code}): an object lock keeps it, or the permission is missing",
                    advice="Wait until the lock lapses; retention tries again.",
                )
            raise refused(sentence, code)

    async def unfinished(self, prefix: str) -> AsyncIterator[UnfinishedUpload]:
        """See `ObjectStore.unfinished`."""
        pages = self._client.get_paginator("list_multipart_uploads").paginate(
            Bucket=self._location.bucket, Prefix=prefix
        )
        async for page in self._pages(prefix, iter(pages)):
            for item in page.get("Uploads", ()):
                yield UnfinishedUpload(key=item["Key"], handle=item["UploadId"], started=item["Initiated"])

    async def abandon(self, upload: UnfinishedUpload) -> None:
        """See `ObjectStore.abandon`."""
        bucket = self._location.bucket
        await S3Upload(self._client, self._call, bucket=bucket, key=upload.key, upload_id=upload.handle).abort()

    async def _size(self, key: str) -> int:
        answer = await self._call(key, lambda: self._client.head_object(Bucket=self._location.bucket, Key=key))
        return answer["ContentLength"]

    async def _range(self, key: str, start: int, end: int) -> bytes:
        def read() -> bytes:
            answer = self._client.get_object(Bucket=self._location.bucket, Key=key, Range=f"bytes={start}-{end - 1}")
            body = answer["Body"]
            try:
                return body.read()
            finally:
                body.close()

        return await self._call(key, read)

    async def _pages(self, prefix: str, pages: Iterator[Any]) -> AsyncIterator[Any]:
        def following() -> Any:
            return next(pages, None)

        while (page := await self._call(prefix, following)) is not None:
            yield page

    async def _call(self, key: str, call: Callable[[], T]) -> T:
        """Run a blocking call in a thread and speak its errors in our words."""

        def translating() -> T:
            with translated(key):
                return call()

        calling = self._pool.submit(translating)
        try:
            return await asyncio.wrap_future(calling)
        except asyncio.CancelledError:
            if not calling.cancelled():
                # Its thread goes on whatever we do: what undoes the call must not overtake it.
                await asyncio.gather(asyncio.wrap_future(calling), return_exceptions=True)
            raise

    def _kept(self, storage_class: str) -> dict[str, Any]:
        kept: dict[str, Any] = {"StorageClass": storage_class}
        if self._location.encryption:
            kept["ServerSideEncryption"] = self._location.encryption
        if self._location.lock_days:
            kept["ObjectLockMode"] = self._location.lock_mode
            kept["ObjectLockRetainUntilDate"] = datetime.now(UTC) + timedelta(days=self._location.lock_days)
        return kept


def _client(location: S3Location) -> S3Client:
    return boto3.client(
        "s3",
        endpoint_url=location.endpoint,
        aws_access_key_id=location.access_key,
        aws_secret_access_key=location.secret_key,
        aws_session_token=location.session_token,
        region_name=location.region,
        verify=location.ca_file,
        config=Config(
            # Stores that are not AWS reject the checksum trailers that boto3 sends by default.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            max_pool_connections=_CALLS,
            connect_timeout=_CONNECT_S,
            read_timeout=_ANSWER_S,
            # Repeating over a longer outage is the pipeline's, which knows how long it may take.
            retries={"mode": "standard", "total_max_attempts": 2},
            s3={"addressing_style": "path"} if location.endpoint else {},
        ),
    )
