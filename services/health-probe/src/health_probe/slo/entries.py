"""One target's next minutes in its ledger: from evidence to written days, corrections said aloud first."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Final

import msgspec
from yaoki import faults
from yaoki.events.slo import LedgerCorrected

from health_probe.slo.evidence import KEPT_S, Outage, conclude, correct, decidable, decide
from health_probe.slo.minutes import Day, Seen
from health_probe.slo.moments import DAY_MINUTES, MINUTE_S, Period, moment
from health_probe.slo.responses import Responses
from health_probe.slo.windows import planned

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from yaoki.maintenance import MaintenanceWindow
    from yaoki.messaging.ports import EventPublisher

    from health_probe.slo.book import Late, TargetEvidence
    from health_probe.slo.ledger import Ledger

_NAMES: Final = {Seen.UP: "up", Seen.DOWN: "down", Seen.UNKNOWN: "unknown"}


class Keeper:
    """Keeps the ledger of one target.

    Invariant: `frontier` only grows, and every minute before it, from the first one of the contract on, is decided
    in the ledger.

    Args:
        evidence: All that is known of the target; shared with whoever fills it.
        frontier: First minute that is not decided.
        begins: The target has no ledger yet: `frontier` is the first minute of its contract.
        instance: Signs corrections.
    """

    def __init__(
        self,
        target: str,
        evidence: TargetEvidence,
        ledger: Ledger,
        publisher: EventPublisher,
        *,
        frontier: int,
        begins: bool,
        instance: str,
    ) -> None:
        self.target = target
        self.frontier = frontier
        self._evidence = evidence
        self._ledger = ledger
        self._publisher = publisher
        self._begins = begins
        self._instance = instance

    async def keep(self, now: float, windows: Sequence[MaintenanceWindow]) -> int:
        """Correct what later evidence has shown and decide what can be decided; return how many minutes were.

        Args:
            now: Seconds since 1970.
            windows: Those of this target whose minutes count as maintenance.

        Raises:
            TransientError: Not everything was written; call again.
        """
        await self._correct()
        until = decidable(self._evidence.tracks.values(), now, self._evidence.patience_s)
        first = self.frontier
        while self.frontier < until:
            await self._decide(until, windows)
        self._evidence.forget(now, self.frontier)
        return self.frontier - first

    async def _decide(self, until: int, windows: Sequence[MaintenanceWindow]) -> None:
        number = self.frontier // DAY_MINUTES

        def extend(day: Day) -> Day:
            if self._begins and not day.through:
                # Minutes of the day before the contract are none of it.
                day = day.decided(bytes(self.frontier - day.period.first), [], Responses())
            period = Period(day.period.first + day.through, until).within(day.period)
            if not len(period):
                return day
            return day.decided(
                decide(self._conclude(period)),
                [minute - day.period.first for minute in planned(windows, period)],
                self._samples(period),
            )

        day = await self._ledger.change(self.target, number, extend)
        faults.point("slo.minute-decided")
        self.frontier = day.period.first + day.through
        self._begins = False

    async def _correct(self) -> None:
        """Audit first, then the ledger: a change without its event must not exist, a repeat of the event may."""
        while self._evidence.late:
            late = self._evidence.late[0]
            for period in self._decided(late):
                day = await self._ledger.day(self.target, period.first // DAY_MINUTES)
                if day is not None:
                    await self._correct_day(day, period, late.cause)
            self._evidence.late.pop(0)

    def _decided(self, late: Late) -> Iterator[Period]:
        """The decided minutes that late evidence speaks of, day by day; at most as far back as evidence is kept."""
        first = max(int(late.span.start // MINUTE_S), self.frontier - KEPT_S // MINUTE_S)
        end = self.frontier if late.span.end == float("inf") else min(self.frontier, int(late.span.end // MINUTE_S) + 1)
        while first < end:
            next_day = (first // DAY_MINUTES + 1) * DAY_MINUTES
            yield Period(first, min(end, next_day))
            first = next_day

    async def _correct_day(self, day: Day, period: Period, cause: str) -> None:
        at = period.first - day.period.first
        before = day.seen[at : at + len(period)]
        after = correct(before, self._conclude(period))
        if after == before:
            return
        for event in self._corrections(period.first, before, after, cause):
            identity = f"{event.target}.{period.first}.{event.first:%Y%m%dt%H%M}.{event.minutes}.{event.after}"
            await self._publisher.publish(event, event_id=identity)
        faults.point("slo.correction-told")

        def write(found: Day) -> Day:
            start = period.first - found.period.first
            stood = found.seen[start : min(start + len(period), found.through)]
            return found.corrected(start, correct(stood, self._conclude(period)[: len(stood)]))

        await self._ledger.change(self.target, day.day, write)

    def _corrections(self, first: int, before: bytes, after: bytes, cause: str) -> Iterator[LedgerCorrected]:
        """One event for each run of minutes that change in the same way."""
        minute = first
        for (old, new), run in groupby(zip(before, after, strict=True)):
            length = len(list(run))
            if old != new:
                yield LedgerCorrected(
                    target=self.target,
                    first=moment(minute),
                    minutes=length,
                    before=_NAMES[Seen(old)],
                    after=_NAMES[Seen(new)],
                    cause=cause,
                    by=self._instance,
                )
            minute += length

    def _conclude(self, period: Period) -> bytes:
        evidence = self._evidence
        return conclude(evidence.tracks, evidence.outages.values(), evidence.panel, period)

    def _samples(self, period: Period) -> Responses:
        total = Responses()
        for minute, sample in self._evidence.samples.items():
            if minute in period:
                total += sample
        return total


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """Where the last writer stood: the record `slo/head`.

    Attributes:
        minute: Every target's ledger was kept at least until shortly before this minute.
        position: Events of failures up to this one of the stream are in the ledger.
        outages: Open ones, and those that ended a short while ago, by target.
        degraded: By cluster its members whose commits do not wait for a standby.
    """

    minute: int
    position: int = 0
    outages: dict[str, tuple[Outage, ...]] = {}
    degraded: dict[str, tuple[str, ...]] = {}
