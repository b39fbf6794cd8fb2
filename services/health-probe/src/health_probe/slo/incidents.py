"""Failures and recovery points by month in the KV bucket `slo`, so that a report needs no walk through all events."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from health_probe.slo.evidence import Outage  # noqa: TC001 - msgspec reads the annotation at run time
from health_probe.slo.ledger import Shelf
from health_probe.slo.moments import MINUTE_S, moment
from health_probe.slo.recovery_points import RecoveryPoint  # noqa: TC001 - as above

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from yaoki.messaging.ports import KeyValue

    from health_probe.slo.moments import Period


class IncidentList(msgspec.Struct, frozen=True, kw_only=True):
    """The record `incidents.<yyyymm, UTC>.<target>`, by incident."""

    outages: dict[str, Outage] = {}


class PointList(msgspec.Struct, frozen=True, kw_only=True):
    """The record `points.<yyyymm, UTC>.<target, cluster or group>`, by event."""

    points: dict[str, RecoveryPoint] = {}


class Incidents:
    """Keeps them; written by the writer alone, read by everybody."""

    def __init__(self, slo: KeyValue) -> None:
        self._slo = slo

    async def note(self, target: str, outages: Iterable[Outage]) -> None:
        """Write down what is known of these failures now."""
        by_month: dict[str, dict[str, Outage]] = {}
        for outage in outages:
            by_month.setdefault(_month(int(outage.start // MINUTE_S)), {})[outage.incident_id] = outage
        for month, found in by_month.items():
            shelf = Shelf(self._slo, f"incidents.{month}.{target}", IncidentList)
            known = (await shelf.read() or IncidentList()).outages
            if known | found != known:
                await shelf.write(IncidentList(outages=known | found))

    async def note_points(self, points: Iterable[RecoveryPoint]) -> None:
        """Write down what was measured."""
        by_key: dict[str, dict[str, RecoveryPoint]] = {}
        for point in points:
            by_key.setdefault(f"{_month(int(point.at // MINUTE_S))}.{point.subject}", {})[point.event_id] = point
        for key, found in by_key.items():
            shelf = Shelf(self._slo, f"points.{key}", PointList)
            known = (await shelf.read() or PointList()).points
            if known | found != known:
                await shelf.write(PointList(points=known | found))

    async def points_of(self, subjects: Sequence[str], period: Period) -> list[RecoveryPoint]:
        """Recovery points of the period, by time."""
        found: list[RecoveryPoint] = []
        for subject in subjects:
            for month in _months(period):
                record = await Shelf(self._slo, f"points.{month}.{subject}", PointList).read()
                found += (record or PointList()).points.values()
        return sorted((point for point in found if int(point.at // MINUTE_S) in period), key=lambda point: point.at)

    async def of(self, targets: Sequence[str], period: Period) -> dict[str, list[Outage]]:
        """Failures of the months that the period touches, by target."""
        found: dict[str, list[Outage]] = {target: [] for target in targets}
        for target in targets:
            for month in _months(period):
                record = await Shelf(self._slo, f"incidents.{month}.{target}", IncidentList).read()
                found[target] += (record or IncidentList()).outages.values()
        return found


def _months(period: Period) -> list[str]:
    return sorted({_month(period.first), _month((period.first + period.end) // 2), _month(period.end - 1)})


def _month(minute: int) -> str:
    return f"{moment(minute):%Y%m}"
