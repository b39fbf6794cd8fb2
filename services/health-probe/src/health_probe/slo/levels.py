"""What was promised and what was kept, read from the ledger as it lies there: `api.slo.status` and `api.slo.report`."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import msgspec
from yaoki.commands.slo import BurnView, ServiceStatus, SlaReport
from yaoki.errors import ErrorCode, RejectedError
from yaoki.maintenance import active_window

from health_probe.slo.alarms import DATA
from health_probe.slo.availability import availability, budget, count
from health_probe.slo.burn import LONGEST, rates
from health_probe.slo.markdown import markdown
from health_probe.slo.moments import Period, day_of, minute_of, moment, month_of, period_of_month
from health_probe.slo.page import page
from health_probe.slo.recovery_points import subjects_of
from health_probe.slo.report import Material, known_part, report, service_minutes, service_responses
from health_probe.slo.windows import honoured

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from yaoki.clock import Clock
    from yaoki.commands.slo import SloReport, SloStatus
    from yaoki.config import Config, ServiceLevel
    from yaoki.maintenance import MaintenanceWindow

    from health_probe.slo.alarms import Alarms
    from health_probe.slo.burn import Alarm
    from health_probe.slo.desk import MaintenanceDesk
    from health_probe.slo.incidents import Incidents
    from health_probe.slo.ledger import Ledger
    from health_probe.slo.minutes import Day

_MONTH: Final = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")
_DOCUMENTS: Final = {"markdown": markdown, "html": page}


class Levels:
    """Answers from the buckets alone, so that every instance answers the same.

    Args:
        promised: Levels by service.
    """

    def __init__(
        self,
        *,
        config: Config,
        promised: Mapping[str, ServiceLevel],
        ledger: Ledger,
        incidents: Incidents,
        desk: MaintenanceDesk,
        alarms: Alarms,
        clock: Clock,
    ) -> None:
        self.promised = promised
        self.zone = ZoneInfo(config.slo.time_zone)
        self._config = config
        self._rules = config.maintenance
        self._ledger = ledger
        self._incidents = incidents
        self._desk = desk
        self._alarms = alarms
        self._clock = clock

    async def statuses(self, request: SloStatus) -> tuple[ServiceStatus, ...]:
        """One service, or all of them.

        Raises:
            RejectedError: No such service; names the closest ones.
        """
        if request.service_name:
            return (await self.status(request.service_name),)
        return await self._statuses(list(self.promised))

    async def status(self, service: str) -> ServiceStatus:
        """The running month of one service; errors as for `statuses`."""
        self._level(service)
        return (await self._statuses([service]))[0]

    async def report(self, request: SloReport) -> SlaReport:
        """The report of one month, with the document in the format that was asked for.

        Raises:
            RejectedError: No such service, no such month, or one that has not begun.
        """
        now = self._clock.now()
        month = request.month or month_of(minute_of(now), self.zone)
        if not _MONTH.fullmatch(month) or month < "1970-02":
            raise RejectedError(f"month {request.month[:20]!r}: expected a calendar month such as {now:%Y-%m}")
        if month > month_of(minute_of(now), self.zone):
            running = month_of(minute_of(now), self.zone)
            raise RejectedError(f"month {month} has not begun in {self.zone.key}; the running one is {running}")
        made = await self.report_of(request.service_name, month)
        document = _DOCUMENTS.get(request.format)
        return made if document is None else msgspec.structs.replace(made, document=document(made))

    async def report_of(self, service: str, month: str) -> SlaReport:
        """The figures of one month."""
        level = self._level(service)
        period = period_of_month(month, self.zone)
        windows = await self._desk.windows()
        material = Material(
            service=service,
            level=level,
            zone=self.zone.key,
            now=self._clock.now(),
            days=await self._ledger.days(level.targets, period),
            outages=await self._incidents.of(level.targets, period),
            windows={target: honoured(windows, target, self._rules) for target in level.targets},
            points=await self._incidents.points_of(subjects_of(self._config, level.targets), period),
        )
        return report(material, month)

    async def _statuses(self, services: list[str]) -> tuple[ServiceStatus, ...]:
        now = self._clock.now()
        period = period_of_month(month_of(minute_of(now), self.zone), self.zone)
        first = min(period.first, minute_of(now) - LONGEST)
        targets = {target for service in services for target in self.promised[service].targets}
        days = await self._ledger.days(sorted(targets), Period(first, minute_of(now) + 1))
        alarms = await self._alarms.standing()
        windows = await self._desk.windows()
        return tuple(
            self._status(
                service,
                {target: days[target] for target in self.promised[service].targets},
                now=now,
                alarms=alarms,
                windows=windows,
            )
            for service in services
        )

    def _status(
        self,
        service: str,
        days: Mapping[str, Sequence[Day]],
        *,
        now: datetime,
        alarms: Mapping[str, Alarm],
        windows: Sequence[MaintenanceWindow],
    ) -> ServiceStatus:
        level = self.promised[service]
        month = month_of(minute_of(now), self.zone)
        period = period_of_month(month, self.zone)
        whole = service_minutes(days, period)
        known, minutes = known_part(whole), count(whole.adjusted)
        raw = availability(count(whole.raw))
        share = availability(minutes)
        left = budget(minutes, period.end - known.first if len(known) else len(period), level.availability)
        decided = _decided(days)
        newest = service_minutes(days, Period(decided - LONGEST, decided))
        data = alarms.get(f"{service}|{DATA}")
        open_window = next(
            (window for target in level.targets if (window := active_window(windows, target, now))), None
        )
        return ServiceStatus(
            service=service,
            targets=level.targets,
            month=month,
            time_zone=self.zone.key,
            goal=level.availability,
            availability=None if share is None else float(share),
            raw_availability=None if raw is None else float(raw),
            minutes=minutes,
            budget_minutes=float(left.total),
            budget_used=left.used,
            budget_left=left.left,
            burns=tuple(
                BurnView(
                    rule=rate.rule.name,
                    severity=rate.rule.severity,
                    burn_long=round(float(rate.long), 2),
                    burn_short=round(float(rate.short), 2),
                    burning_since=alarm.since if (alarm := alarms.get(f"{service}|{rate.rule.name}")) else None,
                )
                for rate in rates(newest.adjusted, level.availability)
            ),
            decided_until=moment(decided) if decided else None,
            data_missing_since=data.since if data else None,
            maintenance=open_window.window_id if open_window else None,
            average_ms=service_responses(days, period).average_ms,
            **self._today(level, days, now),
        )

    def _today(self, level: ServiceLevel, days: Mapping[str, Sequence[Day]], now: datetime) -> dict[str, Any]:
        """Today's responses against the daily goal; nothing where there is no goal or no response."""
        tally = service_responses(days, day_of(now.astimezone(self.zone).date(), self.zone))
        if level.response is None or not tally.responses:
            return {}
        within = tally.within(level.response.within)
        bearable = int(tally.responses * (100 - level.response.share) / 100)
        return {
            "within_share": 100 * within / tally.responses,
            "within_left": bearable - (tally.responses - within),
        }

    def _level(self, service: str) -> ServiceLevel:
        level = self.promised.get(service)
        if level is None:
            close = get_close_matches(service, self.promised, n=3, cutoff=0.4) or sorted(self.promised)[:5]
            raise RejectedError(
                f"service {service[:64]!r} is not promised; closest names: {', '.join(close) or 'none are configured'}",
                code=ErrorCode.NOT_FOUND,
            )
        return level


def _decided(days: Mapping[str, Sequence[Day]]) -> int:
    """The first minute that is not decided for all of the targets; 0 when one has no ledger."""
    return min((max((day.period.first + day.through for day in own), default=0) for own in days.values()), default=0)
