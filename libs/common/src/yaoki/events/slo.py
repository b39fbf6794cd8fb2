"""Facts about service levels: error budgets, the ledger, planned maintenance."""

from datetime import datetime
from typing import ClassVar

from yaoki.events.base import Event


class ServiceLevelEvent(Event, frozen=True, kw_only=True):
    """Something about one service's level. `service` is its name under `slo.services`."""

    context: ClassVar[str] = "slo"
    entity_field: ClassVar[str] = "service"

    service: str


class BudgetBurning(ServiceLevelEvent, frozen=True, kw_only=True):
    """The error budget is being used up too fast, over a long window and still over a short one.

    Published once when it begins; `BudgetRecovered` with the same rule and `since` ends it.

    Attributes:
        rule: Factor and windows, e.g. `14.4x 1h/5m`.
        severity: `page` (somebody has to act now) or `ticket`.
        since: Minute at which the rule began to hold, UTC.
        factor: Burn rate from which the rule holds; 1 uses up exactly the month's budget in a month.
        burn_long: Burn rate over the long window.
        burn_short: Burn rate over the short window.
        goal: Availability that is promised, percent.
        budget_left: Share of this month's budget that is left, 1 to 0, negative when overdrawn.
        unknown_minutes: Minutes of the long window that count as down because nobody saw the service.
    """

    rule: str
    severity: str
    since: datetime
    factor: float
    burn_long: float
    burn_short: float
    goal: float
    budget_left: float
    unknown_minutes: int = 0


class BudgetRecovered(ServiceLevelEvent, frozen=True, kw_only=True):
    """The rule of a `BudgetBurning` does not hold any more.

    Attributes:
        rule: As in the `BudgetBurning` that this ends.
        since: As there.
        recovered_at: Minute at which it ceased to hold, UTC.
        budget_left: Share of this month's budget that is left.
    """

    rule: str
    since: datetime
    recovered_at: datetime
    budget_left: float


class ServiceDataMissing(ServiceLevelEvent, frozen=True, kw_only=True):
    """Nobody has seen the service for some minutes: what is not seen counts as down.

    Attributes:
        since: First minute without a proven state, UTC.
        minutes: How many there were when this was told.
    """

    since: datetime
    minutes: int


class ServiceDataReturned(ServiceLevelEvent, frozen=True, kw_only=True):
    """The service is seen again after a `ServiceDataMissing` with the same `since`."""

    since: datetime
    returned_at: datetime


class ServiceMonthClosed(ServiceLevelEvent, frozen=True, kw_only=True):
    """A calendar month of the contract is over and its ledger is complete.

    Attributes:
        month: `2026-11`, in `time_zone`.
        availability: Percent, planned maintenance left out.
        raw_availability: Percent, planned maintenance counted as what was seen.
        goal: Percent that was promised.
        met: Whether it was kept.
        credit_percent: Service credit that is due.
    """

    month: str
    time_zone: str
    availability: float
    raw_availability: float
    goal: float
    met: bool
    credit_percent: float


class LedgerCorrected(Event, frozen=True, kw_only=True):
    """Minutes of the ledger that had been decided were changed by evidence that came later.

    Attributes:
        target: Whose ledger.
        first: First of the minutes, UTC.
        minutes: How many in a row.
        before: State that stood there: `up`, `down` or `unknown`.
        after: State that stands there now.
        cause: Incident whose event was late, or the vantage whose view was.
        by: Instance that wrote it.
    """

    context: ClassVar[str] = "slo"
    entity_field: ClassVar[str] = "target"

    target: str
    first: datetime
    minutes: int
    before: str
    after: str
    cause: str
    by: str


class MaintenanceEvent(Event, frozen=True, kw_only=True):
    """Something about one maintenance window.

    Attributes:
        window_id: Identity of the window.
        targets: Names of targets; empty means all.
        start: First moment, UTC.
        end: First moment after it, UTC.
        by: Who announced it.
        reason: What is done.
    """

    context: ClassVar[str] = "slo"
    entity_field: ClassVar[str] = "window_id"

    window_id: str
    targets: tuple[str, ...] = ()
    start: datetime
    end: datetime
    by: str
    reason: str = ""


class MaintenanceAnnounced(MaintenanceEvent, frozen=True, kw_only=True):
    """A window that keeps all rules was accepted.

    Attributes:
        announced_at: When, UTC.
    """

    announced_at: datetime


class MaintenanceCancelled(MaintenanceEvent, frozen=True, kw_only=True):
    """A window was cancelled before it began; its minutes are free again.

    Attributes:
        cancelled_at: When, UTC.
        cancelled_by: Who.
    """

    cancelled_at: datetime
    cancelled_by: str


class MaintenanceStarted(MaintenanceEvent, frozen=True, kw_only=True):
    """A window has begun. Probing goes on; its minutes count neither as up nor as down."""


class MaintenanceEnded(MaintenanceEvent, frozen=True, kw_only=True):
    """A window is over: from here on a target that does not answer is down.

    Attributes:
        still_down: Targets that were down at that moment; each also gets a `MaintenanceOverrun`.
    """

    still_down: tuple[str, ...] = ()


class MaintenanceOverrun(MaintenanceEvent, frozen=True, kw_only=True):
    """Some targets were still down when their window ended; the minutes since then count as downtime.

    Attributes:
        overrunning: The targets.
    """

    overrunning: tuple[str, ...]
