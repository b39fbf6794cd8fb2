"""One short exchange with a server over TCP, to ask it whether it is there."""

from __future__ import annotations

import asyncio
import contextlib

from yaoki_devstack.waiting import patient

EXCHANGE_SECONDS = 1.0
_CHUNK = 65_536


async def exchange(
    host: str, port: int, request: bytes, *, until: bytes = b"", within: float = EXCHANGE_SECONDS
) -> bytes:
    """Send `request` and return what comes back: the first chunk, or all up to and including `until`.

    Returns what there is, possibly nothing, when the server refuses, closes or stays silent for
    `patient(within)` seconds.
    """
    reply = b""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(patient(within)):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(request)
                while chunk := await reader.read(_CHUNK):
                    reply += chunk
                    if until in reply:
                        break
            finally:
                writer.transport.abort()
    return reply


async def http_get(host: str, port: int, path: str, *, within: float = EXCHANGE_SECONDS) -> tuple[int, bytes]:
    """Return status and body of a plain HTTP GET; status 0 when there was no answer."""
    request = f"GET {path} HTTP/1.0\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode()
    # No reply contains this marker, so everything up to the close is read.
    reply = await exchange(host, port, request, until=b"\0end\0", within=within)
    head, _, body = reply.partition(b"\r\n\r\n")
    words = head.split(maxsplit=2)
    return (int(words[1]), body) if len(words) > 1 and words[1].isdigit() else (0, b"")
