"""Says when a calendar month of a contract is complete, once for each service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from yaoki.events.slo import ServiceMonthClosed

from health_probe.slo.ledger import Shelf
from health_probe.slo.moments import month_of, previous_month

if TYPE_CHECKING:
    from collections.abc import Mapping

    from yaoki.commands.slo import SlaReport
    from yaoki.messaging.ports import EventPublisher, KeyValue

    from health_probe.slo.levels import Levels

_SETTLING: Final = 60
"""Minutes after the month's end in which late evidence may still correct it."""


class ClosedMonths(msgspec.Struct, frozen=True, kw_only=True):
    """The record `slo/months`: the last month that was closed, by service."""

    closed: dict[str, str] = {}


class MonthEnd:
    """Closes months; one instance at a time, the writer."""

    def __init__(self, slo: KeyValue, publisher: EventPublisher, levels: Levels) -> None:
        self._shelf: Shelf[ClosedMonths] = Shelf(slo, "months", ClosedMonths)
        self._publisher = publisher
        self._levels = levels
        self._closed: dict[str, str] | None = None

    def distrust(self) -> None:
        """Read the record again: somebody else has been the writer."""
        self._closed = None

    async def close(self, decided: Mapping[str, int]) -> None:
        """Close what is over.

        Args:
            decided: First undecided minute of each service.
        """
        if self._closed is None:
            self._closed = dict((await self._shelf.read() or ClosedMonths()).closed)
        before = dict(self._closed)
        for service, minute in decided.items():
            month = previous_month(month_of(minute - _SETTLING, self._levels.zone))
            if self._closed.get(service, "") < month:
                await self._close(service, month)
                self._closed[service] = month
        if self._closed != before:
            try:
                await self._shelf.write(ClosedMonths(closed=self._closed))
            except BaseException:
                self._closed = None
                raise

    async def _close(self, service: str, month: str) -> None:
        made = await self._levels.report_of(service, month)
        if made.availability is None or made.met is None:
            return  # its contract began later
        await self._publisher.publish(_closing(made, made.availability), event_id=f"{service}.{month}.closed")


def _closing(report: SlaReport, availability: float) -> ServiceMonthClosed:
    return ServiceMonthClosed(
        service=report.service,
        month=report.month,
        time_zone=report.time_zone,
        availability=availability,
        raw_availability=report.raw_availability or 0.0,
        goal=report.goal,
        met=report.met is True,
        credit_percent=report.credit_percent,
    )
