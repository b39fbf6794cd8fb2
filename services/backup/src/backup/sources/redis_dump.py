"""A Redis server, read as its replicas read it: a dump of one moment, over the network, whatever its disk holds.

The server forks, and sends what the child sees (`SYNC`); it goes on serving meanwhile. A replica can be read as well.
What keys there are is read from the very bytes that are stored.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from yaoki.events.backup import BackupFailureClass

from backup.errors import SourceFailedError
from backup.manifest import SourceFacts
from backup.pipeline.channel import ChannelAbortedError
from backup.pipeline.joint import Joint
from backup.sources.rdb import facts_of
from backup.sources.rdb_reader import RdbBrokenError, RdbReader, RdbUnknownError
from backup.sources.redis_server import refused

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from backup.pipeline.channel import Channel
    from backup.sources.rdb import DumpFacts
    from backup.sources.redis_server import RedisConnection, RedisServer

KIND: Final = "redis"
DATA: Final = "data"
_CHUNK: Final = 512 << 10
_WAITING: Final = 2 << 20
_MARK: Final = 40
"""Bytes that announce and end a dump of unknown length."""


class RedisSource:
    """See `ports.Source`.

    Args:
        server: A master or a replica.
    """

    def __init__(self, server: RedisServer) -> None:
        self._server = server

    @property
    def kind(self) -> str:
        """See `Source.kind`."""
        return KIND

    @asynccontextmanager
    async def capture(self) -> AsyncIterator[RedisCapture]:
        """See `Source.capture`: the moment is that at which the server forks, soon after the stream is asked for."""
        async with self._server.connected() as connection:
            about = await connection.info("server")
            yield RedisCapture(self._server.place, connection, about.get("redis_version", ""))


class RedisCapture:
    """See `ports.Capture`."""

    streams: Final = (DATA,)

    def __init__(self, place: str, connection: RedisConnection, version: str) -> None:
        self._place = place
        self._connection = connection
        self._version = version
        self._began = datetime.now(UTC)
        self._facts: DumpFacts | None = None
        self._unknown = ""

    async def stream(self, name: str) -> AsyncGenerator[bytes]:  # noqa: ARG002 - there is one
        """See `Capture.stream`."""
        async with Joint("dump", 2) as joint:
            channel = joint.channel(_WAITING)
            counting = asyncio.ensure_future(joint.blocking(self._count, channel))
            try:
                async for chunk in _dump(self._connection, self._place):
                    await joint.blocking(offer, channel, chunk)
                    yield chunk
                channel.close()
                await counting
            finally:
                joint.abort()
                await asyncio.gather(counting, return_exceptions=True)

    async def facts(self) -> SourceFacts:
        """See `Capture.facts`."""
        notes = self._facts.notes if self._facts is not None else {}
        warnings = (f"keys were not counted: the dump has {self._unknown}",) if self._unknown else ()
        return SourceFacts(
            consistent_at=datetime.fromtimestamp(int(notes["ctime"]), UTC) if "ctime" in notes else self._began,
            contents=self._facts.contents if self._facts is not None else (),
            versions={"redis": self._version},
            details={name: value for name, value in notes.items() if name.startswith("repl-")},
            warnings=warnings,
        )

    def _count(self, channel: Channel) -> None:
        try:
            self._facts = facts_of(RdbReader(channel.get))
        except RdbUnknownError as error:
            self._unknown = f"{error}, which this build does not know"
        except RdbBrokenError as error:
            raise SourceFailedError(
                f"what Redis on {self._place} sent is no whole dump: {error}",
                advice="Look at the server's log, and take the backup again.",
            ) from error
        finally:
            channel.abort()  # nobody reads it any more


def offer(channel: Channel, chunk: bytes) -> None:
    """Give a chunk to whoever counts; one who has ended early takes everything."""
    try:
        channel.put(chunk)
    except ChannelAbortedError:
        return  # the count has ended early, and says so at the end


async def _dump(connection: RedisConnection, place: str) -> AsyncIterator[bytes]:
    """The bytes of a dump.

    A server without the disk for it sends the dump as its child writes it, with a mark at the end; one with a disk
    writes it there first, and tells its length.
    """
    await connection.ask("REPLCONF", "capa", "eof")
    await refused(connection, "REPLCONF", "rdb-only", "1")  # since 7.0: it keeps no later commands for us
    await connection.send("SYNC")
    header = b""
    while not header:
        header = await connection.line()
    if header.startswith(b"-"):
        raise SourceFailedError(
            f"Redis on {place} sends no dump ({header[1:41].decode('utf-8', 'replace')})",
            advice="A replica sends one only while it is connected to its master; the user needs +sync and +psync.",
            failure=BackupFailureClass.AUTHENTICATION if header.startswith(b"-NOPERM") else None,
        )
    if header.startswith(b"$EOF:"):
        pieces = _until(connection, header.removeprefix(b"$EOF:"))
    else:
        pieces = _exactly(connection, int(header.removeprefix(b"$")))
    collected = bytearray()
    async for piece in pieces:
        collected += piece
        if len(collected) >= _CHUNK:
            yield bytes(collected)
            collected.clear()
    if collected:
        yield bytes(collected)


async def _exactly(connection: RedisConnection, size: int) -> AsyncIterator[bytes]:
    while size:
        piece = await connection.some(min(size, _CHUNK))
        size -= len(piece)
        yield piece


async def _until(connection: RedisConnection, mark: bytes) -> AsyncIterator[bytes]:
    """Everything before the mark, which is the last that comes until the server's next sign of life."""
    held = b""
    while (place := held.find(mark)) < 0:
        if len(held) > _MARK:
            yield held[:-_MARK]
            held = held[-_MARK:]
        held += await connection.some(_CHUNK)
    yield held[:place]
