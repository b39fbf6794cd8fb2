"""Watches the event stream while servers are being killed, and remembers what it saw."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

import msgspec
from yaoki.events import Event  # noqa: TC002 - msgspec reads the annotation at run time
from yaoki.messaging.ports import Envelope  # noqa: TC002 - as above
from yaoki.tasks import end_tasks

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from types import TracebackType

    from yaoki.sdk import Yaoki


class Seen(msgspec.Struct, frozen=True):
    """One event with its envelope."""

    event: Event
    envelope: Envelope


class Observer:
    """Collects events from now on and lets others wait for them.

    Args:
        yaoki: The connection.
        show: Called with each event as it arrives.
    """

    def __init__(self, yaoki: Yaoki, show: Callable[[Seen], None]) -> None:
        self.seen: list[Seen] = []
        self._yaoki = yaoki
        self._show = show
        self._arrived = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._follow(), name="observer")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task:
            await end_tasks([self._task])

    async def _follow(self) -> None:
        async for event, envelope in self._yaoki.events():
            seen = Seen(event, envelope)
            self._show(seen)
            async with self._arrived:
                self.seen.append(seen)
                self._arrived.notify_all()

    def first(self, fits: Callable[[Event], bool], *, since: datetime) -> Seen | None:
        """The first event after `since` that fits."""
        return next((one for one in self.seen if one.envelope.time >= since and fits(one.event)), None)

    async def wait_for(self, what: str, fits: Callable[[Event], bool], *, since: datetime, within_s: float) -> Seen:
        """The first event after `since` that fits, waiting for it.

        Raises:
            TimeoutError: Says what did not happen within `within_s` seconds.
        """
        try:
            async with asyncio.timeout(within_s), self._arrived:
                await self._arrived.wait_for(lambda: self.first(fits, since=since))
        except TimeoutError:
            raise TimeoutError(f"{what} did not happen within {within_s:g} s") from None
        found = self.first(fits, since=since)
        if found is None:
            raise TimeoutError(f"{what} vanished")
        return found
