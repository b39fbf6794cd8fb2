"""How a Redis server is reached: its protocol, as far as a backup needs it.

The driver that others use cannot hand over what replication sends, so that both are spoken here over one connection.
Reference: https://redis.io/docs/latest/develop/reference/protocol-spec/ (RESP2).
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

import msgspec
from yaoki.events.backup import BackupFailureClass

from backup.errors import SourceFailedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_CONNECT_S: Final = 15.0
SILENCE_S: Final = 60.0
"""A server that says nothing for so long is gone: while it prepares a dump, it sends a byte every ten seconds."""

_BUFFER: Final = 1 << 20
_LOGIN: Final = ("NOAUTH", "WRONGPASS", "NOPERM")

Reply = bytes | int | list["Reply"] | None


class RedisRefusedError(Exception):
    """The server answered with an error; the message begins with its code."""


class RedisServer(msgspec.Struct, frozen=True, kw_only=True):
    """One server, and who logs in.

    Attributes:
        socket: Path of its Unix socket; host and port do not count then.
        user: Of its access list; empty for servers that know a password only.
        tls: Whether to speak TLS.
        ca_file: Authorities to trust; the system's when empty.
    """

    host: str = ""
    port: int = 6379
    socket: str = ""
    user: str = ""
    password: str = ""
    tls: bool = False
    ca_file: str = ""

    @property
    def place(self) -> str:
        """For people."""
        return self.socket or f"{self.host}:{self.port}"

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[RedisConnection]:
        """A connection that is logged in, closed at the end.

        Raises:
            SourceFailedError: It cannot be opened, or it broke, or the server refused; names the server.
        """
        try:
            async with asyncio.timeout(_CONNECT_S):
                reader, writer = await self._open()
        except (OSError, TimeoutError) as exc:
            raise self._away(exc) from exc
        try:
            connection = RedisConnection(reader, writer)
            if self.password:
                await connection.ask("AUTH", *([self.user] if self.user else []), self.password)
            yield connection
        except RedisRefusedError as exc:
            raise self._refused(str(exc)) from exc
        except (OSError, EOFError, TimeoutError) as exc:  # EOFError: it hung up in the middle
            raise self._away(exc) from exc
        finally:
            writer.transport.abort()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.socket:
            return await asyncio.open_unix_connection(self.socket, limit=_BUFFER)
        context = ssl.create_default_context(cafile=self.ca_file or None) if self.tls else None
        return await asyncio.open_connection(self.host, self.port, ssl=context, limit=_BUFFER)

    def _away(self, exc: BaseException) -> SourceFailedError:
        return SourceFailedError(
            f"Redis on {self.place} could not be reached, or the connection broke ({type(exc).__name__})",
            advice="Look whether the server is up and reachable from here.",
            failure=BackupFailureClass.CONNECTION,
        )

    def _refused(self, message: str) -> SourceFailedError:
        code = message.split(" ", 1)[0][:40]
        if code in _LOGIN:
            return SourceFailedError(
                f"Redis on {self.place} refused the login, or a command ({code})",
                advice="Check user and password; the user needs +sync +psync +replconf +info.",
                failure=BackupFailureClass.AUTHENTICATION,
            )
        return SourceFailedError(f"Redis on {self.place} answered with {code}", advice="Look at the server's log.")


class RedisConnection:
    """One connection; `RedisServer.connected` makes it and translates what it raises."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @property
    def local_host(self) -> str:
        """The address of this end, under which the server sees us."""
        return str(self._writer.get_extra_info("sockname")[0])

    @property
    def remote_host(self) -> str:
        """The server's address."""
        return str(self._writer.get_extra_info("peername")[0])

    async def ask(self, *words: str | bytes) -> Reply:
        """The answer to one command.

        Raises:
            RedisRefusedError: It is an error.
        """
        await self.send(*words)
        async with asyncio.timeout(SILENCE_S):
            return await self._reply()

    async def send(self, *words: str | bytes) -> None:
        """Send a command whose answer is read elsewhere."""
        self._writer.write(encoded(*words))
        await self._writer.drain()

    async def info(self, section: str) -> dict[str, str]:
        """The fields of `INFO <section>`."""
        text = await self.ask("INFO", section)
        lines = text.decode("utf-8", "replace").splitlines() if isinstance(text, bytes) else []
        return dict(line.split(":", 1) for line in lines if ":" in line)

    async def line(self, within: float | None = SILENCE_S) -> bytes:
        """The next line, without its end; empty for the sign of life of a server that prepares a dump.

        Args:
            within: Seconds; None to wait as long as the server is there.
        """
        async with asyncio.timeout(within):
            line = await self._reader.readuntil(b"\n")
        return line.rstrip(b"\r\n")

    async def some(self, most: int) -> bytes:
        """At least one byte, at most `most`."""
        async with asyncio.timeout(SILENCE_S):
            data = await self._reader.read(most)
        if not data:
            raise EOFError
        return data

    async def _reply(self) -> Reply:
        line = await self._reader.readuntil(b"\r\n")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise RedisRefusedError(rest.decode("utf-8", "replace"))
        if kind == b"+":
            return rest
        number = int(rest)
        if kind == b"$":
            return None if number < 0 else (await self._reader.readexactly(number + 2))[:-2]
        if kind == b"*":
            return [await self._reply() for _ in range(number)] if number >= 0 else None
        return number


def encoded(*words: str | bytes) -> bytes:
    """One command as it is sent."""
    parts = [word.encode() if isinstance(word, str) else word for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


async def refused(connection: RedisConnection, *words: str) -> bool:
    """Send a command that older servers do not know; whether it was refused."""
    with suppress(RedisRefusedError):
        await connection.ask(*words)
        return False
    return True
