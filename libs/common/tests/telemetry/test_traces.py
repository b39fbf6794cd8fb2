"""Trace identities are always there; spans leave the process only where a collector is configured."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter

PROGRAM = """
    from opentelemetry import trace
    from yaoki.config import TelemetrySettings
    from yaoki.messaging import tracing
    from yaoki.telemetry import setup_telemetry
    telemetry = setup_telemetry("recovery", "recovery-1", TelemetrySettings(otlp_endpoint={endpoint!r}))
    with trace.get_tracer("t").start_as_current_span("switch-database"):
        print(tracing.traceparent())
    telemetry.shutdown()
"""


def run(endpoint: str | None) -> str:
    """The `traceparent` that the program would put on a message."""
    done = subprocess.run(  # noqa: S603 - this interpreter and a program that stands above
        [sys.executable, "-c", textwrap.dedent(PROGRAM).format(endpoint=endpoint)],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def sampled(parent: str) -> bool:
    """The lowest bit of the flags."""
    return int(parent.rpartition("-")[2], 16) & 1 == 1


def test_without_a_collector_messages_still_carry_a_trace() -> None:
    """Not sampled, but with identities that logs and other services share."""
    parent = run(None)

    assert not sampled(parent)
    assert len(set(parent.split("-")[1])) > 1


async def test_with_a_collector_spans_arrive_there() -> None:
    """As OTLP over HTTP, with the service's name, before the process ends."""
    bodies: list[bytes] = []

    async def collect(reader: StreamReader, writer: StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(next(line for line in head.splitlines() if line.startswith("content-length")).split(":")[1])
        bodies.append(head.encode() + await reader.readexactly(length))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(collect, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        parent = await asyncio.to_thread(run, f"http://127.0.0.1:{port}")

    assert sampled(parent)
    assert bodies[0].startswith(b"post /v1/traces ")
    assert bytes.fromhex(parent.split("-")[1]) in _decompressed(bodies[0])


def _decompressed(request: bytes) -> bytes:
    head, _, body = request.partition(b"\r\n\r\n")
    if b"content-encoding: gzip" in head:
        import gzip  # noqa: PLC0415 - only where the exporter compresses

        return gzip.decompress(body)
    return body


def test_a_dead_collector_does_not_hold_the_process() -> None:
    """The process ends by itself within seconds."""
    assert sampled(run("http://127.0.0.1:1"))
