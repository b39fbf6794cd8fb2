"""Plain bytes of a source become stored parts: metered, compressed, encrypted, uploaded, all at the same time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyrage

from backup.manifest import StoredStream
from backup.pipeline.channel import ChannelAbortedError, ChannelReader
from backup.pipeline.codec import Compressor, encrypt
from backup.pipeline.joint import Joint
from backup.pipeline.uploading import WORKERS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from backup.pipeline.channel import Channel
    from backup.pipeline.codec import Recipient
    from backup.pipeline.uploading import StreamUpload

_COMPRESSED_WAITING: Final = 2 << 20
_THREADS: Final = WORKERS + 3


async def seal(
    source: AsyncIterator[bytes],
    upload: StreamUpload,
    *,
    name: str,
    recipients: list[Recipient],
    level: int,
) -> StoredStream:
    """Store everything that `source` yields under keys that only the recipients can read.

    On any error, a cancellation included, nothing of this stream is left that could be taken for a backup.

    Args:
        source: Raises when it could not be read to its true end; that happens before anything is completed.
        upload: Where to.
        name: Of the stream.
        recipients: Public keys.
        level: Of zstd.

    Raises:
        BackupError: Of the source or of the store, whichever failed first.
    """
    try:
        async with Joint(f"seal-{name}", _THREADS) as joint:
            work = _Sealing(joint, upload, recipients, level)
            await joint.together(work.compress(source), work.encrypt(), *(work.store() for _ in range(WORKERS)))
        objects = await upload.finish()
    except BaseException:
        await upload.abort()
        raise
    plain = work.compressor.plain.digest()
    return StoredStream(name=name, plain_size=plain.size, plain_sha256=plain.sha256, objects=objects)


class _Sealing:
    def __init__(self, joint: Joint, upload: StreamUpload, recipients: list[Recipient], level: int) -> None:
        self.compressor = Compressor(level)
        self._joint = joint
        self._upload = upload
        self._recipients = recipients
        self._compressed = joint.channel(_COMPRESSED_WAITING)
        self._parts = joint.channel(1)  # one part waits, whatever its size; the others are being sent

    async def compress(self, source: AsyncIterator[bytes]) -> None:
        async for chunk in source:
            await self._joint.blocking(self._compress, chunk)
        await self._joint.blocking(self._finish_compression)

    async def encrypt(self) -> None:
        await self._joint.blocking(self._encrypt)

    async def store(self) -> None:
        await self._upload.drain(self._joint, self._parts)

    def _compress(self, chunk: bytes) -> None:
        self._compressed.put(self.compressor.step(chunk))

    def _finish_compression(self) -> None:
        self._compressed.put(self.compressor.finish())
        self._compressed.close()

    def _encrypt(self) -> None:
        parts = _PartWriter(self._parts, self._upload)
        try:
            encrypt(ChannelReader(self._compressed), parts, self._recipients)
        except (pyrage.EncryptError, OSError) as exc:
            if ChannelAbortedError.__name__ in str(exc):  # age wraps whatever the reader or the writer raised
                raise ChannelAbortedError from exc
            raise
        parts.finish()


class _PartWriter:
    """What age writes to: collects parts."""

    def __init__(self, parts: Channel, upload: StreamUpload) -> None:
        self._parts = parts
        self._upload = upload
        self._collected = bytearray()

    def write(self, data: bytes) -> int:
        self._collected += data
        if len(self._collected) >= self._upload.next_part_size():
            self._pass_on()
        return len(data)

    def flush(self) -> None:
        """Parts are passed on by size; age flushes at its end only."""

    def finish(self) -> None:
        if self._collected:
            self._pass_on()
        self._parts.close()

    def _pass_on(self) -> None:
        part, self._collected = self._collected, bytearray()  # handed over whole, not copied
        self._parts.put(part)
