"""Runs checks once, against servers that behave as a test tells them to."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from health_probe.adapters.network import Network
from health_probe.attempt import Deadline
from health_probe.measured import MeasuredProbe
from yaoki.clock import SystemClock

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable

    from health_probe.ports import Check
    from yaoki.events.probe import ProbeResult

    Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def run() -> Callable[..., Awaitable[ProbeResult]]:
    """Runs a check once; the result has to come by the deadline, whatever the target does."""

    async def run_once(check: Check, timeout_s: float = 5.0) -> ProbeResult:
        probe = MeasuredProbe(check, SystemClock())
        async with asyncio.timeout(timeout_s + 2.0):
            return await probe.run(Deadline.after(timeout_s))

    return run_once


@asynccontextmanager
async def _listening(behaviour: Behaviour, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await behaviour(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def listening() -> Callable[..., object]:
    """A TCP (or TLS) server that behaves as told; yields its port."""
    return _listening
