"""Who keeps the ledger: one instance by lease, the others stand by with the same evidence in memory."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import structlog
from yaoki import faults
from yaoki.errors import ConflictError, TransientError, YaokiError

from health_probe.slo import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from yaoki.clock import Clock
    from yaoki.runs.leases import HeldLease, RunLeases

    from health_probe.slo.bookkeeper import Bookkeeper

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class Evidence(Protocol):
    """Where the book's evidence comes from."""

    position: int

    async def refresh(self) -> None:
        """Take in everything that is stored now."""
        ...


class Term:
    """Holds the lease while it can, and does the writer's rounds while it holds it.

    The lease saves work, no more: rounds of two instances at once are kept apart by compare-and-set.
    """

    def __init__(
        self,
        bookkeeper: Bookkeeper,
        evidence: Evidence,
        leases: RunLeases,
        holder: str,
        clock: Clock,
        *,
        connected: Callable[[], bool],
    ) -> None:
        self._bookkeeper = bookkeeper
        self._evidence = evidence
        self._leases = leases
        self._holder = holder
        self._clock = clock
        self._connected = connected
        self._lease: HeldLease | None = None
        self._fresh = False
        self._last = 0.0

    @property
    def holding(self) -> bool:
        """Whether this instance is the writer."""
        return self._lease is not None

    async def interrupted(self) -> None:
        """Something may have been missed: take everything in again before the next decision."""
        self._fresh = False

    async def run(self) -> None:
        """For ever."""
        while True:
            try:
                await self._turn()
            except* ConflictError as group:
                metrics.ROUNDS_FAILED.inc()
                _log.info("another instance writes, beginning again", error=_sentence(group))
                self._lost()
            except* TransientError as group:
                metrics.ROUNDS_FAILED.inc()
                _log.warning("round interrupted, trying again", error=_sentence(group))
                self._fresh = False
            metrics.WRITER.set(self.holding)
            await self._clock.sleep(self._leases.ttl_s / 4)

    async def release(self) -> None:
        """Hand the lease over; raises what the bucket raises."""
        if self._lease is not None:
            lease, self._lease = self._lease, None
            await lease.release()

    async def _turn(self) -> None:
        if not self._connected():
            self._fresh = False
            return
        if self._lease is None:
            self._lease = await self._leases.take("slo", "writer", self._holder)
            if self._lease is None:
                return
            await self._begin()
        else:
            await self._lease.renew()
        faults.point("slo.lease-held")
        await self._round()

    async def _begin(self) -> None:
        await self._holding_on(self._evidence.refresh())
        await self._holding_on(self._bookkeeper.take_over())
        self._fresh = True

    async def _round(self) -> None:
        started = self._clock.monotonic()
        # A process that was stopped for a while has a book as old as it.
        if not self._fresh or started - self._last > self._leases.ttl_s:
            await self._begin()
        before = time.perf_counter()
        metrics.MINUTES.inc(await self._holding_on(self._bookkeeper.round(self._evidence.position)))
        metrics.ROUND_SECONDS.observe(time.perf_counter() - before)
        metrics.BEHIND_SECONDS.set(self._bookkeeper.behind_s())
        self._last = self._clock.monotonic()

    async def _holding_on(self, work: Coroutine[Any, Any, T]) -> T:
        """Do `work`, however long it takes, and keep the lease meanwhile."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(work)
            while not (await asyncio.wait((task,), timeout=self._leases.ttl_s / 3))[0]:
                if self._lease is not None:
                    await self._lease.renew()
        return task.result()

    def _lost(self) -> None:
        self._lease = None
        self._fresh = False


def _sentence(error: BaseException) -> str:
    """The first sentence of whatever was raised."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error.message if isinstance(error, YaokiError) else type(error).__name__
