"""One connection to NATS for each process: reconnects for ever, and ends the process when it cannot."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import nats.errors
import structlog
from faststream.nats import NatsBroker
from typing_extensions import override

from yaoki.errors import FatalError
from yaoki.messaging import metrics
from yaoki.messaging.watchdog import LoopWatchdog, end_process
from yaoki.tasks import end_tasks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from nats.aio.client import Client

    from yaoki.messaging.settings import NatsSettings

_log = structlog.get_logger("yaoki.messaging")

# A server's -ERR that no repeat of the first connect will cure.
_HOPELESS = ("authorization violation", "invalid client protocol", "secure connection - tls required")


class YaokiBroker(NatsBroker):
    """FastStream's broker without its error callback, which raises inside nats-py's own tasks."""

    @override
    def _log_connection_broken(
        self, error_cb: Callable[[Exception], Awaitable[None]] | None = None
    ) -> Callable[[Exception], Awaitable[None]]:
        if error_cb is None:
            raise FatalError("YaokiBroker needs an error callback")
        return error_cb


class Connection:
    """The broker with its callbacks.

    Attributes:
        broker: Not started; subscribers are added by `Messaging`.
        violations: Permission violations that the server has reported; readiness fails on any.
    """

    def __init__(self, settings: NatsSettings, name: str) -> None:
        self._settings = settings
        self._stopping = False
        self._established = False
        self._last_error = "no answer yet"
        self._last_log = 0.0
        self._callbacks: list[Callable[[], Awaitable[None]]] = []
        self._background: set[asyncio.Task[None]] = set()
        self.violations: list[str] = []
        self._watchdog = LoopWatchdog(settings.freeze_limit_s)
        self.broker = YaokiBroker(
            list(settings.servers),
            name=name,
            security=settings.security(),
            inbox_prefix=settings.inbox_prefix,
            apply_types=False,
            logger=None,
            max_reconnect_attempts=-1,
            reconnect_time_wait=1,
            connect_timeout=2,
            ping_interval=10,
            max_outstanding_pings=2,
            error_cb=self._on_error,
            disconnected_cb=self._on_disconnected,
            reconnected_cb=self._on_reconnected,
            closed_cb=self._on_closed,
        )

    @property
    def client(self) -> Client:
        """The nats-py client."""
        return self.broker.connection

    @property
    def connected(self) -> bool:
        """Whether the server is there now."""
        return self._established and not self._stopping and self.client.is_connected

    def on_reconnect(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Have `callback` run, in its own task, after every reconnect."""
        self._callbacks.append(callback)

    def remove_callback(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Undo `on_reconnect`."""
        with contextlib.suppress(ValueError):
            self._callbacks.remove(callback)

    async def open(self) -> None:
        """Wait, for ever if need be, until NATS is there.

        Raises:
            FatalError: The server refuses this client; says why.
        """
        self._watchdog.start()
        try:
            await self.broker.connect()
        except nats.errors.Error as error:
            await self._watchdog.stop()
            raise FatalError(
                f"NATS at {', '.join(self._settings.servers)} refuses the connection: {error}; "
                "check user, password, nkey or credentials in the configuration"
            ) from error
        self._established = True
        metrics.CONNECTED.set(1)

    async def close(self) -> None:
        """Send what is buffered and close; the closed callback then does nothing."""
        self._stopping = True
        metrics.CONNECTED.set(0)
        if self._established and not self.client.is_connected:
            # Draining waits for a server that is not there.
            await self.client.close()
        with contextlib.suppress(nats.errors.Error, TimeoutError, OSError):
            await self.broker.stop()
        await end_tasks(self._background)
        await self._watchdog.stop()

    async def _on_error(self, error: Exception) -> None:
        text = str(error) or type(error).__name__
        self._last_error = text
        lowered = text.lower()
        if "permissions violation" in lowered:
            self._record_violation(text)
            return
        if not self._established:
            if any(reason in lowered for reason in _HOPELESS):
                raise error
            self._say_waiting()
            return
        _log.warning("nats error", error=text)

    def _record_violation(self, text: str) -> None:
        # A loop that is refused again and again must not grow the list.
        if text not in self.violations:
            self.violations.append(text[:300])
            del self.violations[:-20]
        _log.error("nats refuses an operation", error=text, hint="grant the permission to this identity")

    def _say_waiting(self) -> None:
        now = time.monotonic()
        if now - self._last_log >= self._settings.connect_log_s or not self._last_log:
            self._last_log = now
            _log.warning("waiting for nats", servers=list(self._settings.servers), error=self._last_error)

    async def _on_disconnected(self) -> None:
        metrics.CONNECTED.set(0)
        if not self._stopping:
            _log.warning("nats connection lost, reconnecting for ever", error=self._last_error)

    async def _on_reconnected(self) -> None:
        metrics.CONNECTED.set(1)
        metrics.RECONNECTS.inc()
        _log.info("nats connection is back")
        loop = asyncio.get_running_loop()
        for callback in list(self._callbacks):
            # nats-py waits for this callback before it goes on; the work must not happen in here.
            task = loop.create_task(_run(callback), name="yaoki-on-reconnect")
            self._background.add(task)
            task.add_done_callback(self._background.discard)

    async def _on_closed(self) -> None:
        if not self._stopping and self._established:
            # FastStream's and our loops would go on for ever without a connection.
            end_process(f"the NATS connection closed for good ({self._last_error})")


async def _run(callback: Callable[[], Awaitable[None]]) -> None:
    try:
        await callback()
    except Exception:  # noqa: BLE001 - a subscriber's failure must not end the connection's own work
        _log.exception("reconnect callback failed")
