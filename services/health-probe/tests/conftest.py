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
from yaoki.testing import patient

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable

    from health_probe.ports import Check
    from yaoki.events.probe import ProbeResult

    Reached = Callable[[ProbeResult], bool]
    Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def run() -> Callable[..., Awaitable[ProbeResult]]:
    """Runs a check once; the result has to come by the deadline, whatever the target does."""

    async def run_once(check: Check, timeout_s: float | None = None) -> ProbeResult:
        limit_s = patient(5.0) if timeout_s is None else timeout_s
        probe = MeasuredProbe(check, SystemClock())
        async with asyncio.timeout(limit_s + patient(5.0)):
            return await probe.run(Deadline.after(limit_s))

    return run_once


@pytest.fixture
def run_out(run: Callable[..., Awaitable[ProbeResult]]) -> Callable[..., Awaitable[ProbeResult]]:
    """Runs a check that comes to no end, and gives it more time where it did not even come as far as `reached`.

    A machine that stands still for the time of a short deadline would let it end on the way.
    """

    async def run_out_of_time(check: Check, reached: Reached, timeout_s: float = 0.5) -> ProbeResult:
        result = await run(check, timeout_s=timeout_s)
        for factor in (4, 16, 64):
            if reached(result):
                break
            result = await run(check, timeout_s=factor * timeout_s)
        return result

    return run_out_of_time


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
