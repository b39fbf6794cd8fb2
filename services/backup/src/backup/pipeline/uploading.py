"""Parts of one stream on their way into objects of a store."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec
from yaoki import faults

from backup.errors import BackupError
from backup.manifest import StoredObject
from backup.pipeline.codec import Meter
from backup.pipeline.parts import MOST_PARTS, object_name, part_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from backup.pipeline.channel import Channel
    from backup.pipeline.joint import Joint
    from backup.pipeline.patience import Patience, Throttle
    from backup.ports import ObjectStore, Upload

WORKERS: Final = 3
_ABORT_S: Final = 30.0


class _Volume:
    """One object in the making."""

    def __init__(self, name: str, upload: Upload) -> None:
        self.name = name
        self.upload = upload
        self.parts = 0
        self.meter = Meter()


class _Place(msgspec.Struct, frozen=True):
    upload: Upload
    number: int
    offset: int


class StreamUpload:
    """One stream of a backup: takes parts from a channel, and is finished or aborted as a whole.

    Args:
        store: Where to.
        directory: Key of the backup, without a slash at the end.
        stream: Name of the stream.
        patience: Over outages of the store.
        throttle: Bandwidth limit.
        progress: Told the bytes of each stored part.
        most_parts: Parts of an object before the next one begins.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        directory: str,
        stream: str,
        patience: Patience,
        throttle: Throttle,
        progress: Callable[[int], None],
        most_parts: int = MOST_PARTS,
    ) -> None:
        self._store = store
        self._directory = directory
        self._stream = stream
        self._patience = patience
        self._throttle = throttle
        self._progress = progress
        self._most_parts = most_parts
        self._volumes: list[_Volume] = []
        self._turn = asyncio.Lock()

    def next_part_size(self) -> int:
        """Least bytes of the part that is collected now."""
        return part_size(self._volumes[-1].parts % self._most_parts + 1 if self._volumes else 1)

    async def drain(self, joint: Joint, parts: Channel) -> None:
        """Store what comes out of the channel, until it is closed. Several of these share the work."""
        while True:
            async with self._turn:
                data = await joint.blocking(parts.get)
                if not data:
                    return
                place = await self._place(joint, data)
            await self._throttle.take(len(data))
            await self._put(place, data)
            self._progress(len(data))

    async def finish(self) -> tuple[StoredObject, ...]:
        """Make the objects exist. Only now: the source has said that it gave everything."""
        for volume in self._volumes:
            faults.point("backup.before-complete")
            size, parts = volume.meter.size, volume.parts
            await self._patience.over(lambda v=volume, s=size, p=parts: v.upload.finish(parts=p, size=s))  # type: ignore[misc]  # mypy infers no type for a lambda with defaults
        return tuple(
            StoredObject(name=one.name, size=one.meter.size, sha256=one.meter.digest().sha256) for one in self._volumes
        )

    async def abort(self) -> None:
        """Remove what was uploaded, as far as the store answers; the janitor does the rest."""
        for volume in self._volumes:
            try:
                async with asyncio.timeout(_ABORT_S):
                    await volume.upload.abort()
            except (BackupError, TimeoutError):
                continue

    async def _place(self, joint: Joint, data: bytes | bytearray) -> _Place:
        if not self._volumes or self._volumes[-1].parts >= self._most_parts:
            name = object_name(self._stream, len(self._volumes))
            self._volumes.append(_Volume(name, await self._begin(name)))
        volume = self._volumes[-1]
        offset = volume.meter.size
        await joint.blocking(volume.meter.add, data)
        volume.parts += 1
        return _Place(volume.upload, volume.parts, offset)

    async def _begin(self, name: str) -> Upload:
        beginning = asyncio.ensure_future(
            self._patience.over(lambda: self._store.begin(f"{self._directory}/{name}")),
        )
        try:
            return await asyncio.shield(beginning)
        except asyncio.CancelledError:
            # It may have begun all the same, and is to be aborted like the others.
            await asyncio.wait({beginning}, timeout=_ABORT_S)
            if beginning.done() and not beginning.cancelled() and beginning.exception() is None:
                self._volumes.append(_Volume(name, beginning.result()))
            beginning.cancel()
            raise

    async def _put(self, place: _Place, data: bytes | bytearray) -> None:
        async def attempt() -> None:
            await place.upload.put(place.number, place.offset, data)

        faults.point("backup.before-part")
        await self._patience.over(attempt)
        faults.point("backup.after-part")
