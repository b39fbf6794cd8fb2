"""Publishes what the agent has established, in order, however long NATS is away."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from yaoki.errors import RejectedError, YaokiError
from yaoki.telemetry import get_logger

if TYPE_CHECKING:
    from yaoki.clock import IdSource
    from yaoki.events.base import Event
    from yaoki.messaging.ports import EventPublisher

_MOST_WAITING = 1000
_PAUSE_S = 0.5
log = get_logger(__name__)


class Announcer:
    """A queue of facts in memory. Facts of an agent that dies before NATS is back are lost; its server's state is not.

    Args:
        ids: Each fact gets its identity when it is established, so that a repeated publish stores it once.
    """

    def __init__(self, ids: IdSource) -> None:
        self._ids = ids
        self._waiting: asyncio.Queue[tuple[Event, str]] = asyncio.Queue(_MOST_WAITING)

    def announce(self, event: Event) -> None:
        """Have `event` published; returns at once."""
        log.info("established", fact=event.event_name(), entity=event.entity)
        try:
            self._waiting.put_nowait((event, self._ids.new()))
        except asyncio.QueueFull:
            log.error("a fact is dropped, too many wait for NATS", fact=event.event_name())  # noqa: TRY400 - the queue's traceback says nothing

    async def run(self, publisher: EventPublisher) -> None:
        """Publish for ever."""
        while True:
            event, identity = await self._waiting.get()
            while not await self._published(publisher, event, identity):  # noqa: ASYNC110 - repeats, waits for nobody here
                await asyncio.sleep(_PAUSE_S)
            self._waiting.task_done()

    async def drain(self, within_s: float) -> None:
        """Wait until nothing waits any more, at most `within_s`."""
        try:
            async with asyncio.timeout(within_s):
                await self._waiting.join()
        except TimeoutError:
            log.warning("facts are left unpublished", count=self._waiting.qsize())

    async def _published(self, publisher: EventPublisher, event: Event, identity: str) -> bool:
        try:
            await publisher.publish(event, event_id=identity)
        except RejectedError as error:
            log.error("a fact cannot be published", fact=event.event_name(), error=error.message)  # noqa: TRY400 - a refusal, not a bug
        except YaokiError:
            return False
        return True
