"""The application's view of one cluster's route, kept current from the KV bucket `flags`."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import msgspec
import structlog

from yaoki.errors import TransientError
from yaoki.flags import Route, route_key
from yaoki.sdk.routing import supersedes, writable
from yaoki.tasks import end_tasks

if TYPE_CHECKING:
    from yaoki.flags import Endpoint
    from yaoki.messaging.ports import KeyValue

_log = structlog.get_logger(__name__)
_REWATCH_S = 0.5


class RouteWatch:
    """Follows `route.<cluster>`.

    While NATS is away the last known route stays in force: the primary that held the lease goes on serving, so
    its clients must as well.

    Args:
        flags: Bucket `flags`.
        cluster: Name of the PostgreSQL cluster or Redis group.
        fallback: Route to use until the first publication; None makes writers wait for it.
    """

    def __init__(self, flags: KeyValue, cluster: str, fallback: Route | None = None) -> None:
        self.cluster = cluster
        self._flags = flags
        self._route = fallback
        self._changed = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None

    @property
    def route(self) -> Route | None:
        """The newest route known."""
        return self._route

    async def start(self) -> None:
        """Begin to follow; returns at once."""
        self._task = asyncio.create_task(self._follow(), name=f"route watch {self.cluster}")

    async def stop(self) -> None:
        """Stop following."""
        if self._task:
            await end_tasks([self._task])

    async def writable(self, within_s: float) -> tuple[Endpoint, Route]:
        """The primary, waiting while the route is cut.

        Raises:
            TransientError: There was none within `within_s` seconds.
        """
        try:
            async with asyncio.timeout(within_s), self._changed:
                await self._changed.wait_for(lambda: writable(self._route) is not None)
                route = self._route
        except TimeoutError:
            state = "not published yet" if self._route is None else f"{self._route.state} ({self._route.reason})"
            raise TransientError(
                f"cluster {self.cluster!r} had no writable primary for {within_s:g} s: its route is {state}"
            ) from None
        endpoint = writable(route)
        if route is None or endpoint is None:  # the condition above has just held, under the same lock
            raise TransientError(f"cluster {self.cluster!r} lost its primary while it was looked up")
        return endpoint, route

    async def wait_beyond(self, route: Route, within_s: float) -> None:
        """Return when another route than `route` is known, or after `within_s` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s), self._changed:
                await self._changed.wait_for(lambda: self._route is not route)

    async def _follow(self) -> None:
        while True:
            try:
                async for entry in self._flags.watch(route_key(self.cluster)):
                    if entry.key == route_key(self.cluster) and entry.value is not None:
                        await self._take(entry.value)
            except TransientError as error:
                _log.warning("route watch interrupted", cluster=self.cluster, error=error.message)
            await asyncio.sleep(_REWATCH_S)

    async def _take(self, value: bytes) -> None:
        try:
            route = msgspec.json.decode(value, type=Route)
        except msgspec.MsgspecError as error:
            _log.error("route ignored", cluster=self.cluster, error=str(error))
            return
        if route == self._route or not supersedes(route, self._route):
            return
        async with self._changed:
            self._route = route
            self._changed.notify_all()
        _log.info("route changed", cluster=self.cluster, state=route.state, epoch=str(route.epoch))
