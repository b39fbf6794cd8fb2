"""One multipart upload."""

from __future__ import annotations

import base64
import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from backup.errors import ObjectMissingError, StoreRefusedError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any, Protocol

    from types_boto3_s3 import S3Client
    from types_boto3_s3.type_defs import CompletedPartTypeDef

    class Call(Protocol):
        """Runs a blocking call for a key."""

        def __call__(self, key: str, call: Callable[[], Any], /) -> Awaitable[Any]:
            """See `S3ObjectStore`."""
            ...


_ABORTS: Final = 5


def content_md5(data: bytes | bytearray) -> str:
    """What the header Content-MD5 says; the server compares it, nobody relies on it for security."""
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode("ascii")


class S3Upload:
    """See `ports.Upload`.

    Args:
        digests: Send an MD5 with each part, as a bucket with object lock demands.
    """

    def __init__(
        self, client: S3Client, call: Call, *, bucket: str, key: str, upload_id: str, digests: bool = False
    ) -> None:
        self._client = client
        self._call = call
        self._bucket = bucket
        self._key = key
        self._upload_id = upload_id
        self._digests = digests
        self._tags: dict[int, str] = {}

    async def put(self, number: int, offset: int, data: bytes | bytearray) -> None:  # noqa: ARG002 - S3 puts parts in order of their number
        """See `Upload.put`."""

        def send() -> str:
            digest: dict[str, Any] = {"ContentMD5": content_md5(data)} if self._digests else {}
            answer = self._client.upload_part(
                Bucket=self._bucket,
                Key=self._key,
                UploadId=self._upload_id,
                PartNumber=number,
                Body=data,  # type: ignore[arg-type]  # botocore takes a bytearray as well
                **digest,
            )
            return answer["ETag"]

        self._tags[number] = await self._call(self._key, send)

    async def finish(self, *, parts: int, size: int) -> None:
        """See `Upload.finish`."""
        if sorted(self._tags) != list(range(1, parts + 1)):
            raise StoreRefusedError(
                f"upload of {self._key} has parts {len(self._tags)}, expected 1 to {parts}",
                advice="Take the backup again; report this.",
            )
        completed: list[CompletedPartTypeDef] = [
            {"PartNumber": number, "ETag": self._tags[number]} for number in range(1, parts + 1)
        ]

        def complete() -> None:
            self._client.complete_multipart_upload(
                Bucket=self._bucket, Key=self._key, UploadId=self._upload_id, MultipartUpload={"Parts": completed}
            )

        try:
            await self._call(self._key, complete)
        except StoreRefusedError:
            # An answer that was lost makes the repeat fail: the upload is gone because the object is there.
            if await self._size() != size:
                raise
            return
        found = await self._size()
        if found != size:
            raise StoreRefusedError(
                f"object {self._key} has {found} bytes after its upload, expected {size}",
                advice="Look at the store: it lost a part. Take the backup again.",
            )

    async def abort(self) -> None:
        """See `Upload.abort`: a part that was on its way may arrive after the first abort, so it is looked again."""
        for _ in range(_ABORTS):
            with suppress(ObjectMissingError):
                await self._call(self._key, self._abort)
            if not await self._call(self._key, self._parts_left):
                return
        raise StoreUnavailableError(
            f"parts of the upload of {self._key} are still there after {_ABORTS} aborts",
            advice="The janitor tries again.",
        )

    def _abort(self) -> None:
        with suppress(self._client.exceptions.NoSuchUpload):
            self._client.abort_multipart_upload(Bucket=self._bucket, Key=self._key, UploadId=self._upload_id)

    def _parts_left(self) -> bool:
        try:
            answer = self._client.list_parts(Bucket=self._bucket, Key=self._key, UploadId=self._upload_id)
        except self._client.exceptions.NoSuchUpload:
            return False
        return bool(answer.get("Parts"))

    async def _size(self) -> int | None:
        try:
            answer = await self._call(self._key, lambda: self._client.head_object(Bucket=self._bucket, Key=self._key))
        except ObjectMissingError:
            return None
        size: int = answer["ContentLength"]
        return size
