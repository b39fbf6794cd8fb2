"""Feeds the slo role's book: health views from KV, failure events from the stream."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec
import nats.errors
import structlog
from nats.js.errors import APIError, NotFoundError
from yaoki.errors import TransientError
from yaoki.events.probe import FailureCleared, FailureDetected
from yaoki.sdk.events import read_events

from health_probe.records import BUCKET, names_in
from health_probe.slo.book import SeenHealth
from health_probe.slo.recovery_points import MEASURING

if TYPE_CHECKING:
    from yaoki.events import Event
    from yaoki.messaging import Messaging
    from yaoki.messaging.ports import Entry

    from health_probe.slo.book import Book
    from health_probe.slo.recovery_points import RecoveryPoints

_log = structlog.get_logger(__name__)
_decode = msgspec.json.Decoder(SeenHealth).decode
_TYPES: Final[tuple[type[Event], ...]] = (FailureDetected, FailureCleared, *MEASURING)
_RETRY_S: Final = 0.5
_SILENCE_S: Final = 3.0


class Feeds:
    """Keeps a book and the recovery points up to date.

    Attributes:
        position: Every event of interest up to this one of the stream is in them.
    """

    def __init__(self, messaging: Messaging, book: Book, points: RecoveryPoints, *, position: int) -> None:
        self._messaging = messaging
        self._book = book
        self._points = points
        self._health = messaging.kv(BUCKET)
        self.position = position
        self._moved = asyncio.Event()
        self._unreadable = 0

    async def refresh(self) -> None:
        """Take every present view in, and wait for the events that are stored now.

        After a pause of any kind nothing may be decided before this: what is missing in the book only looks like
        a target that nobody watched.

        Raises:
            TransientError: NATS does not answer.
        """
        last = await self._last_event()
        while max(self.position, self._unreadable) < last:
            self._moved.clear()
            try:
                await asyncio.wait_for(self._moved.wait(), _SILENCE_S)
            except TimeoutError:
                # Somebody published what is no event; it must not stop the ledger of everything else.
                _log.warning("events passed over", after=self.position, until=last)
                self._unreadable = last
        for entry in await self._health.entries():
            self._see(entry)

    async def follow_views(self) -> None:
        """Take every new view in, for ever."""
        while True:
            try:
                async for entry in self._health.watch():
                    self._see(entry)
            except TransientError as error:
                _log.warning("health cannot be watched, trying again", error=error.message)
                await asyncio.sleep(_RETRY_S)

    async def follow_events(self) -> None:
        """Take every event of interest in, for ever, beginning behind `position`."""
        feed = read_events(self._messaging.client, self._messaging.subjects, _TYPES, after=self.position)
        async for event, envelope in feed:
            if isinstance(event, FailureDetected | FailureCleared):
                self._book.hear(event)
            else:
                self._points.hear(event, envelope.id, envelope.time.timestamp())
            self.position = max(self.position, envelope.sequence)
            self._moved.set()

    async def _last_event(self) -> int:
        last = 0
        for kind in _TYPES:
            subject = self._messaging.subjects.events(context=kind.context, event=kind.event_name())
            try:
                message = await self._messaging.jetstream.get_last_msg("EVENTS", subject)
            except NotFoundError:
                continue
            except (APIError, nats.errors.Error, OSError) as error:
                raise TransientError(f"the event stream does not answer ({type(error).__name__})") from error
            last = max(last, message.seq or 0)
        return last

    def _see(self, entry: Entry) -> None:
        if entry.value is None or names_in(entry.key)[1] is None:
            return  # a verdict: the ledger goes by what each vantage saw, and by the events
        try:
            view = _decode(entry.value)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            _log.warning("health view is unreadable, passed over", key=entry.key)
            return
        self._book.see(view)
