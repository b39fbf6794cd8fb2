"""When a schedule is due: by cron, in its time zone, made up once when the time was missed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

import msgspec
from cronsim import CronSim, CronSimError
from yaoki.errors import RejectedError

if TYPE_CHECKING:
    from yaoki.config.backup import BackupSchedule

_LONGEST_GAP: Final = timedelta(days=366 * 5)


class Due(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule whose time has come.

    Attributes:
        at: When it should have begun; several missed times are one, the last.
    """

    at: datetime


def times_after(schedule: BackupSchedule, after: datetime, zone: str) -> CronSim:
    """The times of a schedule, aware, each later than `after`.

    Raises:
        RejectedError: The cron line says nothing; names it.
    """
    try:
        return CronSim(schedule.cron, after.astimezone(ZoneInfo(schedule.time_zone or zone)))
    except CronSimError as exc:
        raise RejectedError(
            f"cron {schedule.cron!r} cannot be read: {exc}; expected five fields such as 0 2 * * *"
        ) from exc


def due(schedule: BackupSchedule, *, last: datetime, now: datetime, zone: str) -> Due | None:
    """The newest time of the schedule in (`last`, `now`]; None when there is none.

    Args:
        schedule: Of the configuration.
        last: Until when all times have been seen to; aware.
        now: Aware.
        zone: Time zone of schedules that name none.
    """
    found: datetime | None = None
    for at in times_after(schedule, max(last, now - _LONGEST_GAP), zone):
        if at > now:
            break
        found = at
    return None if found is None else Due(at=found.astimezone(UTC))
