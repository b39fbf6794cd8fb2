"""What recovery is asked and ordered: `api.recovery.*`, `cmd.recovery.*`."""

from datetime import datetime
from typing import Annotated, ClassVar

import msgspec

from yaoki.commands.base import Request
from yaoki.events.probe import FailureType
from yaoki.events.runs import Intervention, StepSummary
from yaoki.plans import JsonObject


class OrderAccepted(msgspec.Struct, frozen=True, kw_only=True):
    """The order is stored and will be carried out.

    Attributes:
        order_id: Identity of the stored order.
        run_id: The run that it starts or steers.
        watch: A line to copy that shows it happening.
    """

    order_id: str
    run_id: str
    watch: str


class RunChain(Request, frozen=True, kw_only=True):
    """Start the action chain of a failure type against a target, as if the failure had just been detected.

    Attributes:
        target: Name of the target in the configuration.
        failure_type: Chooses the chain.
        by: Who orders it.
        reason: Why; written into the run.
        order_id: Give one to make a repeat harmless; chosen by the service when left out.
        action: Only this action of the chain; the whole chain when left out.
    """

    service: ClassVar[str] = "recovery"
    verb: ClassVar[str] = "run"
    reply: ClassVar[type[msgspec.Struct]] = OrderAccepted
    durable: ClassVar[bool] = True

    target: str
    failure_type: FailureType
    by: Annotated[str, msgspec.Meta(min_length=1)]
    reason: str = ""
    order_id: str = ""
    action: str = ""


class RunView(msgspec.Struct, frozen=True, kw_only=True):
    """A run as it stands.

    Attributes:
        status: `running`, `waiting` (only what is held back is left), `paused` (for a person), or its ending.
        leader: Instance that drives it.
        facts: What it was started with: `target`, and `failure` as it was detected.
        ended_at: When it ended, UTC.
    """

    run_id: str
    run_kind: str
    resource: str
    plan: str
    status: str
    leader: str = ""
    started_at: datetime
    incident_id: str | None = None
    steps: tuple[StepSummary, ...] = ()
    reason: str = ""
    facts: JsonObject = {}
    ended_at: datetime | None = None


class WaitingView(msgspec.Struct, frozen=True, kw_only=True):
    """A failure whose run begins when another run on the same servers has ended, or when a guard lets it.

    Attributes:
        run_id: The run that will begin, unless the failure is cleared before.
        behind: The run that it found at work when it was detected; empty when a guard keeps it.
        since: When it began to wait, UTC.
        reason: Why a guard keeps it, one sentence.
        until: When the guard expects to let it go, UTC; None when nobody knows.
    """

    target: str
    failure_type: FailureType
    incident_id: str
    run_id: str
    behind: str
    since: datetime
    reason: str = ""
    until: datetime | None = None


class RunList(msgspec.Struct, frozen=True, kw_only=True):
    """Unfinished runs, and failures that wait for their end."""

    runs: tuple[RunView, ...]
    waiting: tuple[WaitingView, ...] = ()


class ListRuns(Request, frozen=True, kw_only=True):
    """All unfinished runs."""

    service: ClassVar[str] = "recovery"
    verb: ClassVar[str] = "list"
    reply: ClassVar[type[msgspec.Struct]] = RunList


class ShowRun(Request, frozen=True, kw_only=True):
    """One run, finished or not."""

    service: ClassVar[str] = "recovery"
    verb: ClassVar[str] = "show"
    reply: ClassVar[type[msgspec.Struct]] = RunView

    run_id: str


class SteerRun(Request, frozen=True, kw_only=True):
    """Pause, resume, retry, skip, mark done or abort.

    `resume` of a run that is not paused lets what is held back in it begin now.

    Attributes:
        step: For retry, skip and mark-done.
        comment: Required for skip and mark-done.
        result: For mark-done: what the step would have answered.
    """

    service: ClassVar[str] = "recovery"
    verb: ClassVar[str] = "steer"
    reply: ClassVar[type[msgspec.Struct]] = OrderAccepted
    durable: ClassVar[bool] = True

    run_id: str
    intervention: Intervention
    by: Annotated[str, msgspec.Meta(min_length=1)]
    step: str = ""
    comment: str = ""
    result: JsonObject = {}
    order_id: str = ""


class SwitchOver(Request, frozen=True, kw_only=True):
    """Make a standby the primary of a PostgreSQL cluster while the primary is well: nothing acknowledged is lost.

    Refused while the primary was changed a moment ago, or while automation is held back from it.

    Attributes:
        cluster: Name in `postgres_clusters`.
        to: The member to promote; the standby that has most when left out.
        by: Who orders it.
        reason: Why; written into the run.
        order_id: Give one to make a repeat harmless; chosen by the service when left out.
    """

    service: ClassVar[str] = "recovery"
    verb: ClassVar[str] = "switchover"
    reply: ClassVar[type[msgspec.Struct]] = OrderAccepted

    cluster: str
    to: str = ""
    by: Annotated[str, msgspec.Meta(min_length=1)]
    reason: str = ""
    order_id: str = ""


class PauseView(msgspec.Struct, frozen=True, kw_only=True):
    """Automation that a person has paused.

    Attributes:
        target: Empty: all targets.
        until: When it goes on by itself, UTC; None: when it is resumed.
    """

    target: str = ""
    by: str
    reason: str = ""
    since: datetime
    until: datetime | None = None


class AutomationState(msgspec.Struct, frozen=True, kw_only=True):
    """What automation may do at present.

    Attributes:
        paused: By people.
        flapping: Targets that go up and down; nothing is done for them.
        open_failures: Targets that have failed and are not well yet.
        brake: Why everything stands still; empty when it does not.
    """

    paused: tuple[PauseView, ...] = ()
    flapping: tuple[str, ...] = ()
    open_failures: tuple[str, ...] = ()
    brake: str = ""


class PauseAutomation(Request, frozen=True, kw_only=True):
    """Begin no automatic action, for one target or all; what is running can be paused by `steer`.

    Attributes:
        target: All when left out.
        for_s: Go on by itself after so many seconds; when left out, it has to be resumed.
    """

    service: ClassVar[str] = "recovery"
    verb: ClassVar[str] = "pause"
    reply: ClassVar[type[msgspec.Struct]] = AutomationState

    by: Annotated[str, msgspec.Meta(min_length=1)]
    target: str = ""
    reason: str = ""
    for_s: Annotated[float, msgspec.Meta(gt=0)] | None = None


class ResumeAutomation(Request, frozen=True, kw_only=True):
    """Let automation go on, for one target or all; what has waited begins.

    Attributes:
        target: The same as in the pause.
    """

    service: ClassVar[str] = "recovery"
    verb: ClassVar[str] = "resume"
    reply: ClassVar[type[msgspec.Struct]] = AutomationState

    by: Annotated[str, msgspec.Meta(min_length=1)]
    target: str = ""
    reason: str = ""


class ShowAutomation(Request, frozen=True, kw_only=True):
    """Whether automation is paused, braked, or kept from a target."""

    service: ClassVar[str] = "recovery"
    verb: ClassVar[str] = "automation"
    reply: ClassVar[type[msgspec.Struct]] = AutomationState


class Acknowledged(msgspec.Struct, frozen=True, kw_only=True):
    """Who has taken over what.

    Attributes:
        failure_types: Of the target's open failures.
    """

    target: str
    failure_types: tuple[FailureType, ...]
    by: str


class AcknowledgeFailure(Request, frozen=True, kw_only=True):
    """Say that a person has taken the open failures of a target over: nobody is called about them any more."""

    service: ClassVar[str] = "recovery"
    verb: ClassVar[str] = "acknowledge"
    reply: ClassVar[type[msgspec.Struct]] = Acknowledged

    target: str
    by: Annotated[str, msgspec.Meta(min_length=1)]
    comment: str = ""


class RunPage(msgspec.Struct, frozen=True, kw_only=True):
    """Runs in the order in which they began.

    Attributes:
        next: Give it as `after` for the next page; None when there are no more.
    """

    runs: tuple[RunView, ...]
    next: int | None = None


class RunHistory(Request, frozen=True, kw_only=True):
    """Runs of the past with every attempt, by target and time.

    Attributes:
        target: Only its runs; all when left out.
        since: Only those that began at this moment or later, UTC.
        until: Only those that began before this moment, UTC.
        after: `next` of the page before.
        limit: Most runs of a page.
    """

    service: ClassVar[str] = "recovery"
    verb: ClassVar[str] = "history"
    reply: ClassVar[type[msgspec.Struct]] = RunPage

    target: str = ""
    since: datetime | None = None
    until: datetime | None = None
    after: Annotated[int, msgspec.Meta(ge=0)] = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 20
