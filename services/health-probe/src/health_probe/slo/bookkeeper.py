"""The writer's round: from evidence to ledger, alarms, and what is told of windows and months."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from health_probe.slo.alarms import Alarms, Look
from health_probe.slo.burn import LONGEST
from health_probe.slo.entries import Head, Keeper
from health_probe.slo.incidents import Incidents
from health_probe.slo.ledger import Shelf
from health_probe.slo.moments import DAY_MINUTES, MINUTE_S, Period, minute_of
from health_probe.slo.months import MonthEnd
from health_probe.slo.report import service_minutes
from health_probe.slo.windows import honoured

if TYPE_CHECKING:
    from collections.abc import Sequence

    from yaoki.clock import Clock
    from yaoki.config import Config, ServiceLevel
    from yaoki.messaging.ports import EventPublisher, KeyValue

    from health_probe.slo.book import Book
    from health_probe.slo.desk import MaintenanceDesk
    from health_probe.slo.ledger import Ledger
    from health_probe.slo.levels import Levels
    from health_probe.slo.minutes import Day
    from health_probe.slo.recovery_points import RecoveryPoints

_log = structlog.get_logger(__name__)

_MARGIN: Final = 2
"""Days before the last writer's minute in which the newest day of a target is looked for."""


class Bookkeeper:
    """Everything that only one instance does at a time. Two at once would cost time and nothing else.

    Args:
        book: Evidence, filled by others.
        levels: What is promised, and what was kept.
        points: Filled by others, as the book.
    """

    def __init__(
        self,
        *,
        config: Config,
        levels: Levels,
        book: Book,
        points: RecoveryPoints,
        ledger: Ledger,
        desk: MaintenanceDesk,
        slo: KeyValue,
        publisher: EventPublisher,
        clock: Clock,
        instance: str,
    ) -> None:
        self._rules = config.maintenance
        self._levels = levels
        self._book = book
        self._points = points
        self._ledger = ledger
        self._desk = desk
        self._publisher = publisher
        self._clock = clock
        self._instance = instance
        self._head: Shelf[Head] = Shelf(slo, "head", Head)
        self._written = Head(minute=0)
        self._incidents = Incidents(slo)
        self._keepers: dict[str, Keeper] = {}
        self._looked: dict[str, int] = {}
        self._months = MonthEnd(slo, publisher, levels)
        self.alarms = Alarms(slo, publisher, int(config.slo.data_missing_after // MINUTE_S))

    async def take_over(self) -> None:
        """Find out where the last writer stood; call it before the first round of each term.

        Raises:
            TransientError: NATS does not answer.
        """
        self._ledger.distrust()
        self.alarms.distrust()
        self._months.distrust()
        self._looked.clear()
        now = minute_of(self._clock.now())
        head = await self._head.read()
        self._written = head or Head(minute=now)
        self._book.remember(self._written.outages)
        oldest = self._written.minute // DAY_MINUTES - _MARGIN
        targets = list(self._book.targets)
        frontiers = await asyncio.gather(*(self._frontier(target, now, oldest) for target in targets))
        self._keepers = {
            target: Keeper(
                target,
                self._book.targets[target],
                self._ledger,
                self._publisher,
                frontier=now if frontier is None else frontier,
                begins=frontier is None,
                instance=self._instance,
            )
            for target, frontier in zip(targets, frontiers, strict=True)
        }
        new = sum(frontier is None for frontier in frontiers)
        _log.info("keeping the ledger", targets=len(targets), new=new, since=self._written.minute)

    async def round(self, position: int) -> int:
        """Do whatever is due; return how many minutes were decided.

        Args:
            position: Stream position up to which the book holds all failure events.

        Raises:
            TransientError: Something was not written; the next round does it again.
        """
        now = self._clock.now().timestamp()
        # First, because evidence that is older than the ledger needs is forgotten on the way.
        await self._note_incidents()
        windows = await self._desk.windows()
        outcomes = await asyncio.gather(
            *(keeper.keep(now, honoured(windows, target, self._rules)) for target, keeper in self._keepers.items()),
            return_exceptions=True,
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        decided = sum(outcome for outcome in outcomes if isinstance(outcome, int))
        await self._remember(position)
        await self._look()
        await self._months.close(self._looked)
        failing = [target for target, evidence in self._book.targets.items() if evidence.failing()]
        await self._desk.tell(failing=failing)
        return decided

    def behind_s(self) -> float:
        """Age of the newest minute that is decided for every target, seconds."""
        newest = min((keeper.frontier for keeper in self._keepers.values()), default=0)
        return max(0.0, self._clock.now().timestamp() - newest * MINUTE_S) if newest else 0.0

    async def _frontier(self, target: str, now: int, oldest: int) -> int | None:
        """The first undecided minute by the newest day there is; None for a target without a ledger."""
        for number in range(now // DAY_MINUTES, oldest - 1, -1):
            day = await self._ledger.day(target, number)
            if day is not None:
                return day.period.first + day.through
        return None

    async def _note_incidents(self) -> None:
        for target, evidence in self._book.targets.items():
            changed = [
                evidence.outages[incident] for incident in evidence.changed_outages if incident in evidence.outages
            ]
            if changed:
                await self._incidents.note(target, changed)
                evidence.changed_outages.clear()
        if self._points.changed:
            written = dict(self._points.changed)
            await self._incidents.note_points(written.values())
            for event_id in written:
                del self._points.changed[event_id]

    async def _remember(self, position: int) -> None:
        """Move the head after everything before it is written, so that a crash repeats and never skips."""
        if not self._keepers:
            return
        head = Head(
            minute=min(keeper.frontier for keeper in self._keepers.values()),
            position=max(position, self._written.position),
            outages={
                target: tuple(evidence.outages.values())
                for target, evidence in self._book.targets.items()
                if evidence.outages
            },
            degraded=self._points.degraded,
        )
        if head != self._written:
            await self._head.write(head)
            self._written = head

    async def _look(self) -> None:
        """Judge the services whose ledger has moved on."""
        looks = []
        for service, level in self._levels.promised.items():
            minute = min((self._keepers[target].frontier for target in level.targets), default=0)
            if self._looked.get(service, 0) < minute:
                looks.append(await self._look_at(service, level, minute))
        await self.alarms.look(looks)
        self._looked |= {look.service: look.minute for look in looks}
        self._ledger.forget(minute_of(self._clock.now()) // DAY_MINUTES)

    async def _look_at(self, service: str, level: ServiceLevel, minute: int) -> Look:
        newest = Period(minute - LONGEST, minute)
        counts = service_minutes(await self._cached_days(level.targets, newest), newest).adjusted

        async def budget_left() -> float:
            status = await self._levels.status(service)
            return status.budget_left

        return Look(service=service, goal=level.availability, counts=counts, minute=minute, budget_left=budget_left)

    async def _cached_days(self, targets: Sequence[str], period: Period) -> dict[str, list[Day]]:
        numbers = range(period.first // DAY_MINUTES, -(-period.end // DAY_MINUTES))
        days: dict[str, list[Day]] = {}
        for target in targets:
            found = [await self._ledger.day(target, number) for number in numbers]
            days[target] = [day for day in found if day is not None]
        return days
