"""Stored bytes become plain ones again: decrypted, decompressed, metered, and compared with the manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyrage
import zstandard
from yaoki.events.backup import BackupFailureClass, VerificationStage

from backup.errors import DamagedError
from backup.pipeline.channel import ChannelAbortedError, ChannelReader, ChannelWriter
from backup.pipeline.codec import Decompressor, Digest, Meter, decrypt
from backup.pipeline.joint import Joint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from backup.manifest import StoredStream
    from backup.pipeline.codec import Identity
    from backup.ports import ObjectStore

_STORED_WAITING: Final = 16 << 20
_DECRYPTED_WAITING: Final = 2 << 20
_CHUNK: Final = 256 << 10
_FROM_ANOTHER: Final = "Restore from another backup, and take a new one now."
_THREADS: Final = 4


async def check_stored(store: ObjectStore, directory: str, stream: StoredStream) -> None:
    """Read every object of a stream and compare it with what was written.

    Raises:
        DamagedError: Stage stored-bytes: names the object, and what differs.
        ObjectMissingError: An object is gone.
    """
    for item in stream.objects:
        meter = Meter()
        async for chunk in store.read(f"{directory}/{item.name}"):
            meter.add(chunk)
        found = meter.digest()
        if found != Digest(size=item.size, sha256=item.sha256):
            raise DamagedError(
                f"object {directory}/{item.name} has {_shown(found)}, its manifest says {item.size} bytes with "
                f"SHA-256 {item.sha256}",
                advice=_FROM_ANOTHER,
                stage=VerificationStage.STORED_BYTES,
            )


async def unseal(
    store: ObjectStore,
    directory: str,
    stream: StoredStream,
    identities: list[Identity],
    consume: Callable[[bytes], Awaitable[None]],
) -> None:
    """Give the plain bytes of a stream to `consume`, chunk by chunk.

    They are only known to be right when this returns: whoever consumes must be able to take everything back.

    Raises:
        DamagedError: With the stage that failed: encryption or compression.
    """
    async with Joint(f"unseal-{stream.name}", _THREADS) as joint:
        work = _Unsealing(joint, identities, stream)
        await joint.together(work.fetch(_stored(store, directory, stream)), work.decrypt(), work.deliver(consume))
    found = work.decompressor.plain.digest()
    if found != Digest(size=stream.plain_size, sha256=stream.plain_sha256):
        raise DamagedError(
            f"stream {directory}/{stream.name} decompresses to {_shown(found)}, its manifest says {stream.plain_size} "
            f"bytes with SHA-256 {stream.plain_sha256}",
            advice=_FROM_ANOTHER,
            stage=VerificationStage.COMPRESSION,
        )


async def _stored(store: ObjectStore, directory: str, stream: StoredStream) -> AsyncIterator[bytes]:
    for item in stream.objects:
        async for chunk in store.read(f"{directory}/{item.name}"):
            yield chunk


class _Unsealing:
    def __init__(self, joint: Joint, identities: list[Identity], stream: StoredStream) -> None:
        self._joint = joint
        self._identities = identities
        self._name = stream.name
        self._stored = joint.channel(_STORED_WAITING)
        self._decrypted = joint.channel(_DECRYPTED_WAITING)
        self.decompressor = Decompressor(ChannelReader(self._decrypted))

    async def fetch(self, stored: AsyncIterator[bytes]) -> None:
        async for chunk in stored:
            await self._joint.blocking(self._stored.put, chunk)
        self._stored.close()

    async def decrypt(self) -> None:
        await self._joint.blocking(self._decrypt)

    async def deliver(self, consume: Callable[[bytes], Awaitable[None]]) -> None:
        while plain := await self._joint.blocking(self._decompress):
            await consume(plain)

    def _decrypt(self) -> None:
        plain = ChannelWriter(self._decrypted, _CHUNK)
        try:
            decrypt(ChannelReader(self._stored), plain, self._identities)
        except (pyrage.DecryptError, OSError) as exc:
            # age wraps whatever the reader raises; its text is all that tells the causes apart.
            text = str(exc)
            if ChannelAbortedError.__name__ in text:
                raise ChannelAbortedError from exc
            if "No matching keys" in text:
                raise self._wrong_key() from exc
            raise self._damaged(VerificationStage.ENCRYPTION, "is damaged, cut off or out of order") from exc
        plain.flush()
        self._decrypted.close()

    def _decompress(self) -> bytes:
        try:
            return self.decompressor.read(_CHUNK)
        except zstandard.ZstdError as exc:
            raise self._damaged(VerificationStage.COMPRESSION, "is no valid zstd stream") from exc

    def _damaged(self, stage: VerificationStage, what: str) -> DamagedError:
        return DamagedError(f"stream {self._name!r} {what}", advice=_FROM_ANOTHER, stage=stage)

    def _wrong_key(self) -> DamagedError:
        return DamagedError(
            f"none of the {len(self._identities)} identities at hand opens stream {self._name!r}",
            advice="Give the identity that belongs to one of the recipients in the backup's manifest.",
            stage=VerificationStage.ENCRYPTION,
            failure=BackupFailureClass.AUTHENTICATION,
        )


def _shown(digest: Digest) -> str:
    return f"{digest.size} bytes with SHA-256 {digest.sha256}"
