"""A journal in memory: the reference that the adapter on NATS is compared with, and what simulations run on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaoki.clock import Clock, SystemClock
from yaoki.errors import ConflictError
from yaoki.runs.ports import Recorded

if TYPE_CHECKING:
    from yaoki.events.runs import RunEvent


class InMemoryJournal:
    """See `yaoki.runs.ports.Journal`. Sequences form one line over all runs, as in a stream."""

    def __init__(self, clock: Clock | None = None, *, incarnation: int = 1) -> None:
        self._clock = clock or SystemClock()
        self._incarnation = incarnation
        self._runs: dict[tuple[str, str], list[Recorded]] = {}
        self._sequence = 0

    async def append(self, event: RunEvent, *, after: int, event_id: str) -> Recorded:
        """See `Journal.append`."""
        entries = self._runs.setdefault((event.run_kind, event.run_id), [])
        for entry in reversed(entries):
            if entry.sequence <= after:
                break
            if entry.id == event_id:
                return entry
        last = entries[-1].sequence if entries else 0
        if last != after:
            raise ConflictError(f"run {event.run_id} is at sequence {last}, not {after}; read it and decide again")
        self._sequence += 1
        recorded = Recorded(event=event, id=event_id, sequence=self._sequence, at=self._clock.now())
        entries.append(recorded)
        return recorded

    def entries(self, run_kind: str, run_id: str) -> list[Recorded]:
        """The whole journal of a run, for tests."""
        return list(self._runs.get((run_kind, run_id), ()))

    async def load(self, run_kind: str, run_id: str, *, after: int = 0) -> list[Recorded]:
        """See `Journal.load`."""
        entries = self._runs.get((run_kind, run_id), [])
        return [entry for entry in entries if entry.sequence > after]

    async def incarnation(self) -> int:
        """See `Journal.incarnation`."""
        return self._incarnation
