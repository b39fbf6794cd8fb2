"""What is asked about service levels and planned maintenance: `api.slo.*`."""

from datetime import datetime
from typing import Annotated, ClassVar, Literal

import msgspec

from yaoki.commands.base import Request
from yaoki.maintenance import MaintenanceWindow


class WindowReply(msgspec.Struct, frozen=True, kw_only=True):
    """A window as it stands now.

    Attributes:
        window: The window.
        minutes_left: Of the month's allowance, after this window, for the target that has least left.
        watch: A line to copy that shows what happens to it.
    """

    window: MaintenanceWindow
    minutes_left: int
    watch: str


class AnnounceMaintenance(Request, frozen=True, kw_only=True):
    """Announce planned maintenance. A window that breaks a rule is refused, with the rule.

    Attributes:
        targets: Names of targets in the configuration; empty means all of them.
        start: With its zone, e.g. `2026-12-01T02:00:00+09:00`; a whole minute.
        end: First moment after the window; a whole minute.
        by: Who announces it.
        reason: What is done.
        window_id: Give one to make a repeat harmless; chosen by the service when left out.
    """

    service: ClassVar[str] = "slo"
    verb: ClassVar[str] = "announce"
    reply: ClassVar[type[msgspec.Struct]] = WindowReply

    targets: tuple[str, ...] = ()
    start: datetime
    end: datetime
    by: Annotated[str, msgspec.Meta(min_length=1)]
    reason: str = ""
    window_id: str = ""


class CancelMaintenance(Request, frozen=True, kw_only=True):
    """Cancel a window that has not begun.

    Attributes:
        window_id: Which one.
        by: Who cancels it.
    """

    service: ClassVar[str] = "slo"
    verb: ClassVar[str] = "cancel"
    reply: ClassVar[type[msgspec.Struct]] = WindowReply

    window_id: str
    by: Annotated[str, msgspec.Meta(min_length=1)]


class WindowList(msgspec.Struct, frozen=True, kw_only=True):
    """Windows by start.

    Attributes:
        windows: Those asked for, cancelled ones included.
        rules: The rules that a new window has to keep, one sentence each.
    """

    windows: tuple[MaintenanceWindow, ...]
    rules: tuple[str, ...]


class ListMaintenance(Request, frozen=True, kw_only=True):
    """Windows that are open or to come.

    Attributes:
        target: Only those that concern this target.
        past: Also those of the last year that are over.
    """

    service: ClassVar[str] = "slo"
    verb: ClassVar[str] = "list"
    reply: ClassVar[type[msgspec.Struct]] = WindowList

    target: str = ""
    past: bool = False


class BurnView(msgspec.Struct, frozen=True, kw_only=True):
    """One burn-rate rule as it stands.

    Attributes:
        rule: E.g. `14.4x 1h/5m`.
        burn_long: Burn rate over the long window.
        burn_short: Burn rate over the short window.
        burning_since: Set while the rule holds.
    """

    rule: str
    severity: str
    burn_long: float
    burn_short: float
    burning_since: datetime | None = None


class MinuteCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Minutes of a period by state, planned maintenance by itself."""

    up: int = 0
    down: int = 0
    maintenance: int = 0
    unknown: int = 0


class ServiceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One service in the running month.

    Attributes:
        goal: Availability that is promised, percent.
        availability: So far, percent, planned maintenance left out; None before the first minute.
        raw_availability: As above with maintenance counted as what was seen.
        budget_minutes: Minutes that the whole month may be down.
        budget_used: Minutes used; unknown ones included.
        budget_left: Share that is left, negative when overdrawn.
        decided_until: First minute that the ledger has not decided, UTC.
        data_missing_since: Set while nobody sees the service.
        maintenance: The window that is open now.
        within_share: Percent of today's responses within the agreed time; None without responses.
        within_left: How many slow responses today's goal would still bear; negative when missed.
        average_ms: Mean response time of the month, milliseconds.
    """

    service: str
    targets: tuple[str, ...]
    month: str
    time_zone: str
    goal: float
    availability: float | None = None
    raw_availability: float | None = None
    minutes: MinuteCounts
    budget_minutes: float
    budget_used: int
    budget_left: float
    burns: tuple[BurnView, ...] = ()
    decided_until: datetime | None = None
    data_missing_since: datetime | None = None
    maintenance: str | None = None
    within_share: float | None = None
    within_left: int | None = None
    average_ms: float | None = None


class StatusReply(msgspec.Struct, frozen=True, kw_only=True):
    """Services by name.

    Attributes:
        writer: Whether the answering instance keeps the ledger now; one instance does.
    """

    services: tuple[ServiceStatus, ...]
    instance: str
    writer: bool


class SloStatus(Request, frozen=True, kw_only=True):
    """The running month of every service: availability, error budget, burn rates.

    Attributes:
        service_name: One service; all of them when left out.
    """

    service: ClassVar[str] = "slo"
    verb: ClassVar[str] = "status"
    reply: ClassVar[type[msgspec.Struct]] = StatusReply

    service_name: str = ""


class DayFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One calendar day of the contract.

    Attributes:
        day: `2026-11-21`.
        responses: How many were measured.
        within_share: Percent within the agreed time; None without responses.
        within_met: Whether the daily goal was kept; None without responses or without a goal.
    """

    day: str
    minutes: MinuteCounts
    responses: int = 0
    within_share: float | None = None
    within_met: bool | None = None


class IncidentFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One failure of one target.

    Attributes:
        started_at: When the first failing probe ended, UTC.
        ended_at: When it was cleared, UTC; None while it lasts.
        seconds: From the one to the other, or until now: the time to recover that was reached.
        within_rto: Whether that is less than promised.
    """

    target: str
    incident_id: str
    started_at: datetime
    ended_at: datetime | None = None
    seconds: float
    within_rto: bool


class RecoveryPointFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement of how much data was lost, or would have been.

    Attributes:
        subject: Target, cluster or group.
        at: When it was measured, UTC.
        source: `failover` (what was lost), `backup` or `archive` (what a loss would have cost).
        seconds: Of data; None when nobody could say it in seconds.
        lost_bytes: Of the log that the new primary is known to lack.
    """

    subject: str
    at: datetime
    source: str
    seconds: float | None = None
    lost_bytes: int = 0


class PictureRun(msgspec.Struct, frozen=True, kw_only=True):
    """Minutes of one state in a row.

    Attributes:
        start: First of them, UTC.
        minutes: How many.
        state: `up`, `down`, `maintenance` or `unknown`.
        seen: For maintenance: what was seen underneath; else the same as `state`.
    """

    start: datetime
    minutes: int
    state: str
    seen: str


class SlaReport(msgspec.Struct, frozen=True, kw_only=True):
    """The service level of one calendar month.

    Attributes:
        month: `2026-11`, a calendar month in `time_zone`.
        complete: False while the month lasts; then the figures are those so far.
        from_: First minute that counts, UTC: the month's first, or the first of the contract.
        until: First minute that does not count, UTC.
        minutes: Adjusted: planned maintenance by itself.
        raw_minutes: Planned maintenance counted as what was seen.
        availability: Percent, up / (up + down + unknown); None without a minute.
        raw_availability: The same of `raw_minutes`.
        goal: Percent that is promised.
        met: Whether it was kept.
        budget_minutes: Minutes that the month may be down.
        budget_used: Minutes used.
        credit_percent: Service credit that is due by the adjusted availability.
        credit_rule: The tier in words.
        response_goal: The daily goal in words; empty without one.
        response_days_met: Days on which it was kept, of the days with responses.
        average_ms: Mean response time of the month, milliseconds.
        rto_s: Recovery time objective, seconds.
        longest_s: Longest time to recover in the month, seconds; None without an incident.
        rto_met: Whether every incident kept it; None without an incident.
        rpo_s: Recovery point objective, seconds.
        worst_rpo_s: Largest loss that was measured, seconds; None when nothing measured one.
        rpo_met: Whether it was kept; None when nothing measured it, or a failover's loss is not known in seconds.
        recovery_points: Every measurement of the month.
        overrun_minutes: Downtime right after a window, by window.
        runs: The month's minutes, run by run: the picture.
        document: The report as text in the format that was asked for; empty for `json`.
    """

    service: str
    targets: tuple[str, ...]
    month: str
    time_zone: str
    complete: bool
    generated_at: datetime
    from_: datetime = msgspec.field(name="from")
    until: datetime
    minutes: MinuteCounts
    raw_minutes: MinuteCounts
    availability: float | None = None
    raw_availability: float | None = None
    goal: float
    met: bool | None = None
    budget_minutes: float
    budget_used: int
    credit_percent: float
    credit_rule: str
    response_goal: str = ""
    response_days: int = 0
    response_days_met: int = 0
    average_ms: float | None = None
    rto_s: float
    longest_s: float | None = None
    rto_met: bool | None = None
    rpo_s: float
    worst_rpo_s: float | None = None
    rpo_met: bool | None = None
    recovery_points: tuple[RecoveryPointFigures, ...] = ()
    days: tuple[DayFigures, ...] = ()
    incidents: tuple[IncidentFigures, ...] = ()
    windows: tuple[MaintenanceWindow, ...] = ()
    overrun_minutes: dict[str, int] = {}
    runs: tuple[PictureRun, ...] = ()
    document: str = ""


class SloReport(Request, frozen=True, kw_only=True):
    """The service level report of one calendar month.

    Attributes:
        service_name: Name under `slo.services`.
        month: `2026-11`; the running month when left out.
        format: `json` answers the figures alone; `markdown` and `html` also the finished document.
    """

    service: ClassVar[str] = "slo"
    verb: ClassVar[str] = "report"
    reply: ClassVar[type[msgspec.Struct]] = SlaReport

    service_name: str
    month: str = ""
    format: Literal["json", "markdown", "html"] = "json"
