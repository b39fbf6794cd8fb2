"""TCP and TLS with named phases and bounded answers."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from yaoki.events.probe import ErrorClass

from health_probe.adapters.resolver import Resolver
from health_probe.attempt import ProbeFailedError

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from health_probe.adapters.resolver import Address
    from health_probe.attempt import Phases

T = TypeVar("T")

MAX_ANSWER_BYTES: Final = 1 << 20
"""A target that is well answers a probe in far less than 1 MiB; more is a protocol failure."""

_CHUNK: Final = 1 << 16


class Stream:
    """A byte stream to a target; refuses to read more than `limit` bytes in all."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int) -> None:
        self._reader = reader
        self._writer = writer
        self._left = limit
        self._limit = limit

    async def write(self, data: bytes) -> None:
        """Send `data`."""
        self._writer.write(data)
        await self._writer.drain()

    async def read(self, size: int = _CHUNK) -> bytes:
        """Up to `size` bytes; empty at the end of the stream.

        Raises:
            ProbeFailedError: Class `protocol`, when the target has sent more than the limit.
        """
        data = await self._reader.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise answer_too_large(self._limit)
        return data

    async def start_tls(self, context: ssl.SSLContext, server_name: str) -> None:
        """Go on inside TLS, for protocols that begin in the clear."""
        await self._writer.start_tls(context, server_hostname=server_name)

    @property
    def certificate(self) -> Mapping[str, object]:
        """The peer's verified certificate, as `ssl.SSLSocket.getpeercert` describes it; empty without TLS."""
        tls = self._writer.get_extra_info("ssl_object")
        return (tls.getpeercert() or {}) if tls is not None else {}

    @property
    def tls_version(self) -> str | None:
        """E.g. `TLSv1.3`; None without TLS."""
        tls = self._writer.get_extra_info("ssl_object")
        return tls.version() if tls is not None else None

    def abort(self) -> None:
        """Close at once, whatever is still under way."""
        self._writer.transport.abort()


class Network:
    """Opens connections to targets, a new one each time."""

    def __init__(self) -> None:
        self._resolver = Resolver()

    async def dial(self, phases: Phases, host: str, port: int) -> socket.socket:
        """Resolve and connect; return a non-blocking socket, which the caller closes.

        Tries the addresses in the system's order, all inside the phase `connect`.
        """
        return await self._reach(phases, host, port, _connect)

    @asynccontextmanager
    async def open_stream(
        self,
        phases: Phases,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
        limit: int = MAX_ANSWER_BYTES,
    ) -> AsyncIterator[Stream]:
        """A connection to `host:port`, gone when the block ends; `server_name` where the certificate names another."""
        stream = Stream(*await self._reach(phases, host, port, _open), limit)
        try:
            if tls:
                async with phases.phase("tls"):
                    await stream.start_tls(tls, server_name or host)
            yield stream
        finally:
            stream.abort()

    async def _reach(self, phases: Phases, host: str, port: int, connect: Callable[[Address], Awaitable[T]]) -> T:
        async with phases.phase("dns"):
            *others, last = await self._resolver.resolve(host, port)
        async with phases.phase("connect"):
            for address in others:
                try:
                    return await connect(address)
                except OSError:
                    continue
            return await connect(last)


def answer_too_large(limit: int) -> ProbeFailedError:
    """The failure of a target that sends more than a probe reads."""
    return ProbeFailedError(ErrorClass.PROTOCOL, f"the target sent more than {limit} bytes; gave up reading")


async def _connect(address: Address) -> socket.socket:
    family, destination = address
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)  # noqa: FBT003 - the standard library's signature
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(sock, destination)
    except BaseException:
        sock.close()
        raise
    return sock


async def _open(address: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    # The event loop connects by itself: with uvloop that takes two thirds of the time of a socket of ours.
    _, (host, port, *more) = address
    scope = more[1] if more else 0
    name = str(host) + (f"%{int(scope)}" if scope else "")
    return await asyncio.open_connection(name, int(port), limit=_CHUNK)
