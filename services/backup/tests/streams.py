"""Sources of bytes and a short way through the pipeline."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from backup.pipeline.patience import Patience, Throttle
from backup.pipeline.sealing import seal
from backup.pipeline.unsealing import unseal
from backup.pipeline.uploading import StreamUpload
from yaoki.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from backup.manifest import StoredStream
    from backup.pipeline.codec import Identity
    from backup.ports import ObjectStore

PATIENCE_S = 20.0
DIRECTORY = "t/k/b"


def noise(size: int, seed: int = 1) -> bytes:
    """Bytes that do not compress."""
    return random.Random(seed).randbytes(size)  # noqa: S311 - data, not a secret


async def chunks(data: bytes, size: int = 1 << 18) -> AsyncIterator[bytes]:
    """`data`, piece by piece."""
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def sealed(
    store: ObjectStore,
    source: AsyncIterator[bytes],
    *identities: Identity,
    rate: int | None = None,
    most_parts: int = 10_000,
    patience_s: float = PATIENCE_S,
    progress: Callable[[int], None] = lambda _size: None,
) -> StoredStream:
    """Store a stream `data` in `DIRECTORY`."""
    clock = SystemClock()
    upload = StreamUpload(
        store,
        directory=DIRECTORY,
        stream="data",
        patience=Patience(clock, patience_s),
        throttle=Throttle(clock, rate),
        progress=progress,
        most_parts=most_parts,
    )
    return await seal(source, upload, name="data", recipients=[one.to_public() for one in identities], level=1)


async def opened(store: ObjectStore, stream: StoredStream, identity: Identity) -> bytes:
    """The plain bytes of a stored stream."""
    plain = bytearray()

    async def consume(chunk: bytes) -> None:
        plain.extend(chunk)

    await unseal(store, DIRECTORY, stream, [identity], consume)
    return bytes(plain)
