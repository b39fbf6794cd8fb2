"""Gives a dump to one Redis server, as its master would: the way in that needs neither its disk nor its modules.

The server is told to follow us, asks for everything, and loads it. Nothing it had is kept, so it has to be empty.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from backup.errors import BackupError, RestoreFailedError
from backup.sources.redis_server import encoded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

_ALIVE_S: Final = 1.0
_WANTS_ALL: Final = (b"PSYNC", b"SYNC")


class DumpFeed:
    """A master with a dump and no more.

    Args:
        peer: The only address that is served: whoever connects is given everything.
        size: Bytes of the dump.
        feed: Gives the dump to a consumer, and raises where it turns out to be damaged.
    """

    def __init__(
        self, peer: str, size: int, feed: Callable[[Callable[[bytes], Awaitable[None]]], Awaitable[None]]
    ) -> None:
        self._peer = peer
        self._size = size
        self._feed = feed
        self._open: set[asyncio.StreamWriter] = set()
        self.served = False
        """The server has come for the dump."""
        self.failure: BackupError | None = None
        """Why the dump could not be given whole; the server has not loaded it then."""

    @asynccontextmanager
    async def listening(self, host: str) -> AsyncIterator[int]:
        """Wait for the server at an address of this machine; yields the port. It is let go at the end."""
        listener = await asyncio.start_server(self._serve, host, 0)
        try:
            yield int(listener.sockets[0].getsockname()[1])
        finally:
            listener.close()
            for writer in self._open:
                writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            if writer.get_extra_info("peername")[0] == self._peer and not self.served:
                await self._lead(reader, writer)
        except BackupError as error:
            self.failure = error
        except (OSError, EOFError):
            self.failure = _hung_up() if self.served else None  # before, it may come again
        finally:
            self._open.discard(writer)
            writer.transport.abort()

    async def _lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Be the master of whoever is connected, until it hangs up."""
        while (order := (await _command(reader))[0].upper()) not in _WANTS_ALL:
            writer.write(b"+PONG\r\n" if order == b"PING" else b"+OK\r\n")
        self.served = True
        await self._give(writer, told=order == b"PSYNC")
        await _stay(reader, writer)
        self.failure = _hung_up()  # nobody asks any more once it had loaded everything

    async def _give(self, writer: asyncio.StreamWriter, *, told: bool) -> None:
        if told:
            writer.write(f"+FULLRESYNC {os.urandom(20).hex()} 0\r\n".encode())
        writer.write(b"$%d\r\n" % self._size)
        held = b""

        async def consume(chunk: bytes) -> None:
            nonlocal held
            writer.write(held)
            await writer.drain()
            held = chunk

        # What damage there is is known at the end only: a dump without its last piece is not loaded.
        await self._feed(consume)
        writer.write(held)
        await writer.drain()


def _hung_up() -> RestoreFailedError:
    return RestoreFailedError(
        "the server hung up before it had loaded the dump",
        advice="Look at its log: it may be older than the dump, or have no memory for it.",
    )


async def _stay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Show that the master lives, until the server follows it no more."""
    gone = asyncio.ensure_future(_drained(reader))
    try:
        while not gone.done():
            writer.write(encoded("PING"))
            await writer.drain()
            await asyncio.wait({gone}, timeout=_ALIVE_S)
    finally:
        gone.cancel()


async def _command(reader: asyncio.StreamReader) -> list[bytes]:
    line = await reader.readuntil(b"\r\n")
    if not line.startswith(b"*"):
        return line.split()
    words = []
    for _ in range(int(line[1:])):
        size = int((await reader.readuntil(b"\r\n"))[1:])
        words.append((await reader.readexactly(size + 2))[:-2])
    return words


async def _drained(reader: asyncio.StreamReader) -> None:
    with suppress(OSError):
        while await reader.read(1 << 16):
            continue
