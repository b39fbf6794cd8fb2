"""What is promised: service levels, and the rules of planned maintenance."""

from typing import Annotated

import msgspec

from yaoki.config.base import Section
from yaoki.config.forms import Address, Duration, Name, PositiveDuration, TargetName, TimeZone

Percent = Annotated[float, msgspec.Meta(gt=0, lt=100)]
TimeOfDay = Annotated[str, msgspec.Meta(pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$")]

UPTIME_GOAL = 99.5
API_GOAL = 99.9
FURTHER_GOAL = 99.0


class ResponseGoal(Section, frozen=True, kw_only=True):
    """How fast responses have to be, judged for each calendar day.

    Attributes:
        share: Percent of the day's responses.
        within: That have to arrive within this time: one of 10ms, 20ms, 50ms, 100ms, 200ms, 500ms, 1s, 2s, 5s, 10s.
    """

    share: Percent = 95.0
    within: PositiveDuration = 2.0


class Credit(Section, frozen=True, kw_only=True):
    """What a customer gets back.

    Attributes:
        below: Availability of the month, percent, below which it is due.
        percent: Of the month's price. Of several tiers the largest credit counts.
    """

    below: Percent
    percent: Annotated[float, msgspec.Meta(gt=0, le=100)]


DEFAULT_CREDITS = (Credit(below=99.0, percent=5.0), Credit(below=98.0, percent=10.0))


class ServiceLevel(Section, frozen=True, kw_only=True):
    """What is promised of one service.

    Attributes:
        targets: It is up while all of these are.
        availability: Percent of a calendar month.
        response: How fast it has to be; nothing is promised when null.
        rto: Each failure has to be over within this time.
        rpo: A recovery may lose at most this much.
        credits: Service credits.
    """

    targets: Annotated[tuple[TargetName, ...], msgspec.Meta(min_length=1)]
    availability: Percent = UPTIME_GOAL
    response: ResponseGoal | None = ResponseGoal()
    rto: PositiveDuration = 14400.0
    rpo: PositiveDuration = 3600.0
    credits: tuple[Credit, ...] = DEFAULT_CREDITS


class SloSection(Section, frozen=True, kw_only=True):
    """Service levels: the per-minute ledger, error budgets and monthly reports.

    Attributes:
        http: Where the slo role serves `/live`, `/ready` and `/metrics`.
        time_zone: Of the contract: its calendar days and months.
        services: By name. Without any, each target is a service of its own: HTTP ones with 99.9 % availability,
            external ones with 99.0 %, all others with 99.5 %.
        lease: How long the instance that keeps the ledger may be silent before another takes over.
        data_missing_after: A service that nobody has seen for this long is reported.
    """

    http: Address | None = None
    time_zone: TimeZone = "Asia/Tokyo"
    services: dict[Name, ServiceLevel] = msgspec.field(default_factory=dict)
    lease: Annotated[Duration, msgspec.Meta(ge=2)] = 10.0
    data_missing_after: PositiveDuration = 600.0


class MaintenanceSection(Section, frozen=True, kw_only=True):
    """Rules of planned maintenance. A window that breaks one is refused.

    Attributes:
        notice: A window has to be announced this long before it begins.
        monthly_limit: Windows of one target may take this much of a calendar month.
        earliest: Time of day at which a window may begin.
        latest: Time of day at which it has to be over, `24:00` for midnight.
        time_zone: Of these hours and months.
    """

    notice: Duration = 172800.0
    monthly_limit: Duration = 14400.0
    earliest: TimeOfDay = "02:00"
    latest: TimeOfDay = "06:00"
    time_zone: TimeZone = "Asia/Tokyo"
