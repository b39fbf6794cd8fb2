"""Tells when budgets burn, when nobody looks, and when a month is closed; each once, across restarts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable  # noqa: TC003 - msgspec reads the annotation at run time
from typing import TYPE_CHECKING, Final

import msgspec
import structlog
from yaoki import faults
from yaoki.events.slo import (
    BudgetBurning,
    BudgetRecovered,
    ServiceDataMissing,
    ServiceDataReturned,
)

from health_probe.slo.burn import RULES, Alarm, Rate, rates, step, unseen
from health_probe.slo.ledger import Shelf
from health_probe.slo.minutes import Count

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from yaoki.events.base import Event
    from yaoki.messaging.ports import EventPublisher, KeyValue

KEY: Final = "alarms"
DATA: Final = "data-missing"
_NAMES: Final = tuple(rule.name for rule in RULES)
_log = structlog.get_logger(__name__)


class AlarmBook(msgspec.Struct, frozen=True, kw_only=True):
    """The record `slo/alarms`: what was told and is not over, by `<service>|<rule>`."""

    alarms: dict[str, Alarm] = {}


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """One service at one minute.

    Attributes:
        counts: Its newest minutes, at least those of the longest window as far as there are any.
        minute: First minute that is not decided.
        budget_left: Asks for the share of this month's budget that is left.
    """

    service: str
    goal: float
    counts: bytes
    minute: int
    budget_left: Callable[[], Awaitable[float]]


class Alarms:
    """Keeps and tells the alarms of all services; one instance at a time, the writer.

    An alarm is written down before it is told and marked after, so that a crash in between tells it again with the
    same identity instead of losing it or inventing another.
    """

    def __init__(self, slo: KeyValue, publisher: EventPublisher, data_missing_after: int) -> None:
        self._shelf: Shelf[AlarmBook] = Shelf(slo, KEY, AlarmBook)
        self._publisher = publisher
        self._patience = data_missing_after
        self._alarms: dict[str, Alarm] | None = None

    def distrust(self) -> None:
        """Read the record again before the next look: somebody else has been the writer."""
        self._alarms = None

    async def look(self, looks: list[Look]) -> None:
        """Take one look at the services; raises TransientError when not everything was told."""
        before = await self._known()
        after = dict(before)
        for seen in looks:
            prefix = f"{seen.service}|"
            own = {name.removeprefix(prefix): alarm for name, alarm in after.items() if name.startswith(prefix)}
            after |= {prefix + name: alarm for name, alarm in step(own, self._holding(seen), seen.minute).items()}
        await self._remember(after)
        for seen in looks:
            await self._tell(seen)

    async def standing(self) -> Mapping[str, Alarm]:
        """What is told and not over, as it lies in the bucket now."""
        return (await self._shelf.read() or AlarmBook()).alarms

    def _holding(self, seen: Look) -> dict[str, bool]:
        holding = {rate.rule.name: rate.burning for rate in rates(seen.counts, seen.goal)}
        return holding | {DATA: unseen(seen.counts) >= self._patience}

    async def _tell(self, seen: Look) -> None:
        changed = dict(await self._known())
        due = [name for name in (*_NAMES, DATA) if _untold(changed.get(f"{seen.service}|{name}"))]
        if not due:
            return
        left = round(await seen.budget_left(), 4)
        found = {rate.rule.name: rate for rate in rates(seen.counts, seen.goal)}
        for name in due:
            key = f"{seen.service}|{name}"
            alarm = changed[key]
            if not alarm.told:
                await self._publish(key, "began", alarm, _beginning(seen, name, alarm, found.get(name), left))
                alarm = changed[key] = msgspec.structs.replace(alarm, told=True)
            if alarm.over is not None:
                await self._publish(key, "ended", alarm, _ending(seen, name, alarm, alarm.over, left))
                del changed[key]
        faults.point("slo.alarms-told")
        await self._remember(changed)

    async def _publish(self, key: str, what: str, alarm: Alarm, event: Event) -> None:
        slug = "".join(letter if letter.isalnum() or letter == "-" else "-" for letter in key)
        await self._publisher.publish(event, event_id=f"{slug}.{alarm.since:%Y%m%dt%H%M}.{what}")
        _log.info("service level alarm", what=what, alarm=key)

    async def _known(self) -> dict[str, Alarm]:
        if self._alarms is None:
            self._alarms = dict((await self._shelf.read() or AlarmBook()).alarms)
        return self._alarms

    async def _remember(self, alarms: dict[str, Alarm]) -> None:
        if alarms == await self._known():
            return
        try:
            await self._shelf.write(AlarmBook(alarms=alarms))
        except BaseException:
            self._alarms = None
            raise
        self._alarms = alarms


def _untold(alarm: Alarm | None) -> bool:
    return alarm is not None and (not alarm.told or alarm.over is not None)


def _beginning(seen: Look, name: str, alarm: Alarm, rate: Rate | None, left: float) -> Event:
    if rate is None:
        return ServiceDataMissing(service=seen.service, since=alarm.since, minutes=unseen(seen.counts))
    return BudgetBurning(
        service=seen.service,
        rule=name,
        severity=rate.rule.severity,
        since=alarm.since,
        factor=float(rate.rule.factor),
        burn_long=round(float(rate.long), 2),
        burn_short=round(float(rate.short), 2),
        goal=seen.goal,
        budget_left=left,
        unknown_minutes=seen.counts[-rate.rule.long :].count(Count.UNKNOWN),
    )


def _ending(seen: Look, name: str, alarm: Alarm, over: datetime, left: float) -> Event:
    if name == DATA:
        return ServiceDataReturned(service=seen.service, since=alarm.since, returned_at=over)
    return BudgetRecovered(
        service=seen.service,
        rule=name,
        since=alarm.since,
        recovered_at=over,
        budget_left=left,
    )
