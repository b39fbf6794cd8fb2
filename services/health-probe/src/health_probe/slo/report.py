"""The service level report of a calendar month, from the ledger: pure."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

import msgspec
from yaoki.commands.slo import DayFigures, IncidentFigures, PictureRun, RecoveryPointFigures, SlaReport
from yaoki.config.forms import format_duration

from health_probe.slo import recovery_points
from health_probe.slo.availability import availability, budget, combined, count, credit, kept
from health_probe.slo.minutes import NAMES, Count, Day
from health_probe.slo.moments import (
    MINUTE_S,
    Period,
    days_of_month,
    minute_of,
    moment,
    period_of_month,
)
from health_probe.slo.responses import Tally, tally

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from yaoki.config import ServiceLevel
    from yaoki.maintenance import MaintenanceWindow

    from health_probe.slo.evidence import Outage
    from health_probe.slo.recovery_points import RecoveryPoint

_BAD: Final = (Count.DOWN, Count.UNKNOWN)


class Material(msgspec.Struct, frozen=True, kw_only=True):
    """What a report is made of.

    Attributes:
        level: What was promised.
        zone: IANA name of the contract's time zone.
        now: When it is made, UTC.
        days: Ledger days that the month touches, by target.
        outages: Known failures of the month, by target.
        windows: Windows that count as maintenance, by target.
        points: Recovery points of the month, by time.
    """

    service: str
    level: ServiceLevel
    zone: str
    now: datetime
    days: Mapping[str, Sequence[Day]]
    outages: Mapping[str, Sequence[Outage]] = {}
    windows: Mapping[str, Sequence[MaintenanceWindow]] = {}
    points: Sequence[RecoveryPoint] = ()


class Minutes(msgspec.Struct, frozen=True):
    """A period's minutes of a service: a `Count` each, adjusted and raw. NONE where the ledger has nothing.

    Invariant: `len(adjusted) == len(raw) == len(period)`.
    """

    period: Period
    adjusted: bytes
    raw: bytes

    def cut(self, period: Period) -> Minutes:
        """The part in `period`."""
        part = period.within(self.period)
        first, end = part.first - self.period.first, part.end - self.period.first
        return Minutes(part, self.adjusted[first:end], self.raw[first:end])


def service_minutes(days: Mapping[str, Sequence[Day]], period: Period) -> Minutes:
    """The minutes of a service in a period, of all its targets together."""
    adjusted = combined([_laid_out(own, period, raw=False) for own in days.values()])
    raw = combined([_laid_out(own, period, raw=True) for own in days.values()])
    return Minutes(period, adjusted, raw)


def service_responses(days: Mapping[str, Sequence[Day]], period: Period) -> Tally:
    """The responses of a service's targets in a period of whole quarters of an hour."""
    total = Tally()
    for own in days.values():
        for day in own:
            part = period.within(day.period)
            if len(part):
                total += tally(day.responses, part.first - day.period.first, part.end - day.period.first)
    return total


def known_part(minutes: Minutes) -> Period:
    """From the first minute of the contract to the last one that is decided."""
    start = len(minutes.adjusted) - len(minutes.adjusted.lstrip(b"\0"))
    end = len(minutes.adjusted.rstrip(b"\0"))
    return Period(minutes.period.first + min(start, end), minutes.period.first + end)


def report(material: Material, month: str) -> SlaReport:
    """The report of a month such as `2026-11`."""
    zone = ZoneInfo(material.zone)
    whole = service_minutes(material.days, period_of_month(month, zone))
    known = known_part(whole)
    level = material.level
    adjusted, raw = count(whole.adjusted), count(whole.raw)
    share = availability(adjusted)
    month_budget = budget(
        adjusted, whole.period.end - known.first if len(known) else len(whole.period), level.availability
    )
    percent, rule = credit(share, level.credits)
    days = _days(material, month, whole)
    judged = [day for day in days if day.within_met is not None]
    incidents = _incidents(material, whole.period)
    longest = max((incident.seconds for incident in incidents), default=None)
    windows = _windows(material, whole.period)
    raw_share = availability(raw)
    return SlaReport(
        service=material.service,
        targets=level.targets,
        month=month,
        time_zone=material.zone,
        complete=known.end >= whole.period.end,
        generated_at=material.now,
        from_=moment(known.first if len(known) else whole.period.first),
        until=moment(known.end if len(known) else whole.period.first),
        minutes=adjusted,
        raw_minutes=raw,
        availability=None if share is None else float(share),
        raw_availability=None if raw_share is None else float(raw_share),
        goal=level.availability,
        met=kept(share, level.availability),
        budget_minutes=float(month_budget.total),
        budget_used=month_budget.used,
        credit_percent=percent,
        credit_rule=rule,
        response_goal=response_goal(level),
        response_days=len(judged),
        response_days_met=sum(day.within_met is True for day in judged),
        average_ms=service_responses(material.days, whole.period).average_ms,
        rto_s=level.rto,
        longest_s=longest,
        rto_met=None if longest is None else all(incident.within_rto for incident in incidents),
        rpo_s=level.rpo,
        worst_rpo_s=recovery_points.worst(material.points),
        rpo_met=recovery_points.kept(material.points, level.rpo),
        recovery_points=tuple(
            RecoveryPointFigures(
                subject=point.subject,
                at=datetime.fromtimestamp(point.at, UTC),
                source=point.source,
                seconds=point.seconds,
                lost_bytes=point.lost_bytes,
            )
            for point in material.points
        ),
        days=days,
        incidents=incidents,
        windows=windows,
        overrun_minutes=_overruns(windows, whole),
        runs=tuple(_runs(whole.cut(known))),
    )


def response_goal(level: ServiceLevel) -> str:
    """The daily goal in words."""
    goal = level.response
    return "" if goal is None else f"{goal.share:g} % of responses within {format_duration(goal.within)} each day"


def _laid_out(days: Iterable[Day], period: Period, *, raw: bool) -> bytes:
    counts = bytearray(len(period))
    for day in days:
        part = day.period.within(period)
        own = day.raw_counts() if raw else day.counts()
        first = part.first - day.period.first
        counts[part.first - period.first : part.end - period.first] = own[first : first + len(part)]
    return bytes(counts)


def _days(material: Material, month: str, whole: Minutes) -> tuple[DayFigures, ...]:
    figures = []
    for day, period in days_of_month(month, ZoneInfo(material.zone)):
        responses = service_responses(material.days, period)
        goal = material.level.response
        share = None
        if goal is not None and responses.responses:
            share = 100 * responses.within(goal.within) / responses.responses
        figures.append(
            DayFigures(
                day=day.isoformat(),
                minutes=count(whole.cut(period).adjusted),
                responses=responses.responses,
                within_share=share,
                within_met=None if goal is None or share is None else share >= goal.share,
            )
        )
    return tuple(figures)


def _incidents(material: Material, period: Period) -> tuple[IncidentFigures, ...]:
    """Failures that began in the month, by start. One that lasts still is as long as it is old."""
    now = material.now.timestamp()
    found = [
        IncidentFigures(
            target=target,
            incident_id=outage.incident_id,
            started_at=datetime.fromtimestamp(outage.start, UTC),
            ended_at=None if outage.end is None else datetime.fromtimestamp(outage.end, UTC),
            seconds=round((outage.end if outage.end is not None else now) - outage.start, 3),
            within_rto=(outage.end if outage.end is not None else now) - outage.start < material.level.rto,
        )
        for target, outages in material.outages.items()
        for outage in outages
        if int(outage.start // MINUTE_S) in period
    ]
    return tuple(sorted(found, key=lambda incident: (incident.started_at, incident.target)))


def _windows(material: Material, period: Period) -> tuple[MaintenanceWindow, ...]:
    found = {
        window.window_id: window
        for windows in material.windows.values()
        for window in windows
        if len(Period(minute_of(window.start), minute_of(window.end)).within(period))
    }
    return tuple(sorted(found.values(), key=lambda window: window.start))


def _overruns(windows: Iterable[MaintenanceWindow], whole: Minutes) -> dict[str, int]:
    """Downtime that begins right at the end of a window: the work was not finished."""
    overruns = {}
    for window in windows:
        behind = whole.cut(Period(minute_of(window.end), whole.period.end)).adjusted
        over = len(behind) - len(behind.lstrip(bytes(_BAD)))
        if over:
            overruns[window.window_id] = over
    return overruns


def _runs(minutes: Minutes) -> Iterable[PictureRun]:
    first = minutes.period.first
    for (state, seen), run in groupby(zip(minutes.adjusted, minutes.raw, strict=True)):
        length = len(list(run))
        if state != Count.NONE:
            yield PictureRun(
                start=moment(first),
                minutes=length,
                state=NAMES[Count(state)],
                seen=NAMES.get(Count(seen), "unknown"),
            )
        first += length
