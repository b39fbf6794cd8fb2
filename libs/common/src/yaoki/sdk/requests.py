"""Tells Yaoki how an application's requests fare: counted in the process, summed up, sent every few seconds."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Self

import nats.errors
import structlog

from yaoki.clock import SystemClock
from yaoki.errors import YaokiError
from yaoki.latency import bucket_of
from yaoki.live import REQUESTS, RequestsObserved

if TYPE_CHECKING:
    from types import TracebackType

    from yaoki.clock import Clock
    from yaoki.messaging import Messaging
    from yaoki.sdk.maintenance import ASGIApp, Message, Receive, Send

PERIOD_S = 10.0
_SERVER_ERROR = 500
_log = structlog.get_logger(__name__)


class RequestCounts:
    """Adds up the requests of a period. Observing one costs about a microsecond and no memory of its own.

    Args:
        application: Name of the application.
        instance: Name of this process.
        clock: Dates the periods.
    """

    def __init__(self, application: str, instance: str, clock: Clock) -> None:
        self._application = application
        self._instance = instance
        self._clock = clock
        self._begun = clock.monotonic()
        self._requests = self._errors = 0
        self._total_ms = 0.0
        self._buckets: dict[int, int] = {}

    def observe(self, seconds: float, *, failed: bool = False) -> None:
        """Count one request.

        Args:
            seconds: How long it took.
            failed: Whether it failed by the server's fault.
        """
        milliseconds = seconds * 1000.0
        bucket = bucket_of(milliseconds)
        self._requests += 1
        self._errors += failed
        self._total_ms += milliseconds
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1

    def close_period(self) -> RequestsObserved | None:
        """What was counted since the last call; None when no time has passed."""
        now = self._clock.monotonic()
        period_s = now - self._begun
        if period_s <= 0:
            return None
        report = RequestsObserved(
            application=self._application,
            instance=self._instance,
            at=self._clock.now(),
            period_s=period_s,
            requests=self._requests,
            errors=self._errors,
            total_ms=self._total_ms,
            buckets=self._buckets,
        )
        self._begun, self._requests, self._errors, self._total_ms, self._buckets = now, 0, 0, 0.0, {}
        return report


class RequestStats:
    """Counts requests and reports them on `live.requests.<application>`; an async context manager.

    Nothing here ever fails a request: while NATS is away the reports of that time are lost, and the probe that
    reads them says `unknown`.

    Args:
        messaging: The application's connection.
        application: Its name.
        period_s: How often to report.
    """

    def __init__(self, messaging: Messaging, application: str, *, period_s: float = PERIOD_S) -> None:
        self._messaging = messaging
        self._application = application
        self._period_s = period_s
        self._counts = RequestCounts(application, messaging.instance, SystemClock())
        self._task: asyncio.Task[None] | None = None

    def observe(self, seconds: float, *, failed: bool = False) -> None:
        """See `RequestCounts.observe`."""
        self._counts.observe(seconds, failed=failed)

    def middleware(self, app: ASGIApp, *, exempt: tuple[str, ...] = ("/health",)) -> RequestStatsMiddleware:
        """Wrap an ASGI application so that its HTTP requests are counted."""
        return RequestStatsMiddleware(app, self, exempt=exempt)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._report_for_ever(), name="request stats")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            await self._report()

    async def _report_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._period_s)
            await self._report()

    async def _report(self) -> None:
        report = self._counts.close_period()
        if report is None or not self._messaging.connected:
            return  # the client would keep it and send it long after its time
        try:
            await self._messaging.publish_live((REQUESTS, self._application), report)
        except (YaokiError, nats.errors.Error, OSError) as error:
            _log.debug("request report lost", error=type(error).__name__)


class RequestStatsMiddleware:
    """Counts the HTTP requests of an ASGI application: from the first byte asked to the last byte answered.

    Args:
        app: The application behind it.
        stats: Where to count.
        exempt: Paths that are not counted; health checks are not users.
    """

    def __init__(self, app: ASGIApp, stats: RequestStats | RequestCounts, *, exempt: tuple[str, ...] = ()) -> None:
        self._app = app
        self._stats = stats
        self._exempt = exempt

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http" or scope["path"] in self._exempt:
            await self._app(scope, receive, send)
            return
        status = _SERVER_ERROR  # of an application that raises before it answers

        async def watching(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        started = time.perf_counter()
        failed = True
        try:
            await self._app(scope, receive, watching)
            failed = status >= _SERVER_ERROR
        finally:
            self._stats.observe(time.perf_counter() - started, failed=failed)
