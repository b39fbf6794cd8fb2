"""Stores views and verdicts and tells events, in order for each target, through any outage of NATS."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

import msgspec
import structlog
from yaoki import faults
from yaoki.errors import ConflictError, RejectedError, TransientError
from yaoki.tasks import EndingGroup

from health_probe.records import record_key, verdict_key
from health_probe.verdicts import event_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from yaoki.messaging.ports import EventPublisher, KeyValue

    from health_probe.board import Board
    from health_probe.judge import Judge
    from health_probe.records import HealthRecord, VerdictEvent, VerdictRecord

_RETRY_S: Final = 0.5
_SILENCE_S: Final = 0.1
_WORKERS: Final = 4
_LIVE_BACKLOG: Final = 1000
_log = structlog.get_logger(__name__)


class Gauges(Protocol):
    """Counts what is reported."""

    def took_result(self, record: HealthRecord) -> None:
        """One result of a target."""
        ...

    def ran_late(self, target: str, seconds: float) -> None:
        """A probe began this long after its time."""
        ...

    def waiting(self, events: int) -> None:
        """So many events are not stored yet."""
        ...

    def told(self, event: str) -> None:
        """An event of this name is stored."""
        ...


class LiveFeed(Protocol):
    """Shows results as they come. Lossy on purpose."""

    async def show(self, record: HealthRecord) -> None:
        """Show one result; returns at once and drops it when nobody can be reached."""
        ...


class Archive(Protocol):
    """Knows what has been told."""

    async def holds(self, event: VerdictEvent, identity: str) -> bool:
        """Whether an event of that identity is the newest of its kind about its target. Raises TransientError."""
        ...


class Reporter:
    """See `prober.Outlet` and `judge.Bailiff`.

    For each target in turn: its verdict is stored, then its newest view, then what the verdict has to tell is told, one
    event after the other: a crash before the first loses nothing that anybody can see, and after it nothing at all.
    After a break of the lease the view goes first: where somebody else has written it, ours and what was made of it are
    void. An event stands in the stored verdict before it is published and is taken out after
    (see `VerdictRecord.untold`), and its identity makes a second publication a duplicate. Everything is stored by
    compare-and-set: where somebody else has written, theirs counts, and what was seen here is judged again by it.

    Args:
        may_speak: Whether this prober still holds its lease; without it nothing is written or told, only kept.
    """

    def __init__(
        self,
        *,
        board: Board,
        judge: Judge,
        publisher: EventPublisher,
        archive: Archive,
        health: KeyValue,
        live: LiveFeed,
        gauges: Gauges,
        may_speak: Callable[[], bool],
    ) -> None:
        self._board = board
        self._judge = judge
        self._publisher = publisher
        self._archive = archive
        self._health = health
        self._live = live
        self._gauges = gauges
        self._may_speak = may_speak
        self._urgent: dict[str, None] = {}
        self._due: dict[str, None] = {}
        self._in_hand: set[str] = set()
        self._unsaved_views: dict[str, HealthRecord] = {}
        self._unfenced: set[str] = set()
        self._own_events: set[str] = set()
        self._showing: asyncio.Queue[HealthRecord] = asyncio.Queue(_LIVE_BACKLOG)
        self._wake = asyncio.Event()

    def report(self, record: HealthRecord) -> None:
        """See `Outlet.report`."""
        self._gauges.took_result(record)
        if self._showing.full():
            self._showing.get_nowait()
        self._showing.put_nowait(record)
        self.store(record)
        self._judge.consider(record.target)

    def store(self, record: HealthRecord) -> None:
        """Store a view of our own, and judge nothing by it."""
        self._board.note(record)
        self._unsaved_views[record.target] = record
        self._due.setdefault(record.target)
        self._wake.set()

    def returned(self) -> None:
        """This prober could not speak for a time: others may have written and told meanwhile."""
        self._unfenced.update(self._unsaved_views)
        self._own_events.clear()

    def drop(self, target: str) -> None:
        """Forget the view that is not stored: somebody else's counts."""
        self._unsaved_views.pop(target, None)

    def ran_late(self, target: str, seconds: float) -> None:
        """See `Outlet.ran_late`."""
        self._gauges.ran_late(target, seconds)

    def deliver(self, target: str, new: Iterable[VerdictEvent] = ()) -> None:
        """See `Bailiff.deliver`."""
        self._own_events.update(event_id(event) for event in new)
        self._urgent.setdefault(target)
        self._wake.set()
        self._gauges.waiting(self._board.untold())

    @property
    def idle(self) -> bool:
        """Whether everything has been delivered."""
        return not self._urgent and not self._due and not self._in_hand

    async def run(self) -> None:
        """Deliver for ever; cancel to stop."""
        async with EndingGroup() as group:
            for number in range(_WORKERS):
                group.create_task(self._work(), name=f"reporter {number}")
            group.create_task(self._show_all(), name="live feed")

    async def drain(self) -> None:
        """Return when everything has been delivered, or may not be any more; the caller sets the limit."""
        while not self.idle and self._may_speak():
            if (target := self._next()) is None:
                return  # what is left is in the hands of somebody who still works
            await self._deliver(target)

    async def _work(self) -> None:
        while True:
            if not self._may_speak():
                await asyncio.sleep(_SILENCE_S)
                continue
            target = self._next()
            if target is None:
                self._wake.clear()
                await self._wake.wait()
                continue
            self._in_hand.add(target)
            try:
                await self._deliver(target)
            except TransientError as exc:
                _log.warning("not delivered, trying again", target=target, error=exc.message)
                self._urgent.setdefault(target)
                await asyncio.sleep(_RETRY_S)
            except asyncio.CancelledError:
                self._urgent.setdefault(target)  # what is not delivered yet is drained
                raise
            finally:
                self._in_hand.discard(target)
                self._wake.set()

    def _next(self) -> str | None:
        """The next target that nobody has in hand; verdicts first."""
        for queue in (self._urgent, self._due):
            for target in queue:
                if target not in self._in_hand:
                    del queue[target]
                    self._due.pop(target, None)
                    return target
        return None

    async def _deliver(self, target: str) -> None:
        if target in self._unfenced:
            if (view := self._unsaved_views.get(target)) is not None:
                await self._store_view(view)
            self._unfenced.discard(target)
        while self._may_speak():
            known = self._board.verdict(target) if target in self._judge.presided else None
            if known is not None and known.unsaved:
                await self._store_verdict(known.record, known.revision)
            elif (view := self._unsaved_views.get(target)) is not None:
                await self._store_view(view)
            elif known is not None and known.record.untold:
                await self._tell(known.record.untold[0])
                self._board.told(target, event_id(known.record.untold[0]))
            else:
                return
        self._urgent.setdefault(target)

    async def _store_view(self, view: HealthRecord) -> None:
        known = self._board.view(view.target, view.vantage)
        key = record_key(view.target, view.vantage)
        revision = await self._compare_and_set(key, msgspec.json.encode(view), known.revision if known else 0)
        if revision is None:
            return
        self._board.view_stored(view.target, view.vantage, revision)
        # A newer view may have come while this one was on its way.
        if self._unsaved_views.get(view.target) is view:
            del self._unsaved_views[view.target]

    async def _store_verdict(self, record: VerdictRecord, revision: int) -> None:
        stored = await self._compare_and_set(verdict_key(record.target), msgspec.json.encode(record), revision)
        if stored is not None:
            self._board.verdict_stored(record, stored)

    async def _compare_and_set(self, key: str, value: bytes, revision: int) -> int | None:
        """Write over `revision`; None when something else lies there, which the board then shows."""
        try:
            if revision:
                return await self._health.update(key, value, revision=revision)
            return await self._health.create(key, value)
        except ConflictError:
            entry = await self._health.get(key)
        if entry is None:
            self._board.erased(key)
        else:
            self._board.take(entry)
        return None

    async def _tell(self, event: VerdictEvent) -> None:
        identity = event_id(event)
        faults.point("health-probe.verdict-written")
        if identity not in self._own_events and await self._archive.holds(event, identity):
            return
        if not self._may_speak():
            raise TransientError(f"the lease has lapsed before {identity} was told")
        # Whatever interrupts this leaves open whether it was stored.
        self._own_events.discard(identity)
        try:
            await self._publisher.publish(event, event_id=identity, correlation=event.incident_id)
        except RejectedError as exc:
            # It can never be published; keeping it would hold back every event behind it.
            _log.error("event refused, left out", name=event.event_name(), error=exc.message)
        else:
            self._gauges.told(event.event_name())
        faults.point("health-probe.verdict-published")
        self._gauges.waiting(self._board.untold())

    async def _show_all(self) -> None:
        while True:
            await self._live.show(await self._showing.get())
