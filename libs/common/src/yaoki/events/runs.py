"""The journal of a durable run. These events *are* the run; its state is a fold over them (yaoki.runs).

They are appended only by the run executor, by compare-and-set under the run's own subject, in the context of
the run's kind (`recovery`, `backup`, `dr`). Because the context differs by run, it is a field here.
"""

from datetime import datetime
from enum import StrEnum
from typing import ClassVar

import msgspec
from typing_extensions import override

from yaoki.epoch import Epoch
from yaoki.events.base import Event
from yaoki.plans import JsonObject, OutcomeStatus, Phase, Plan
from yaoki.subjects import Subjects


class Ending(StrEnum):
    """How a run ended."""

    COMPLETED = "completed"
    COMPLETED_WITH_SKIPS = "completed_with_skips"
    EXHAUSTED = "exhausted"
    ROLLED_BACK = "rolled_back"
    ROLLBACK_FAILED = "rollback_failed"
    FAILED_NO_ROLLBACK = "failed_no_rollback"
    VERIFICATION_FAILED = "verification_failed"
    CANCELLED = "cancelled"
    ERROR = "error"


class RunEvent(Event, frozen=True, kw_only=True):
    """One entry of a run's journal.

    Attributes:
        run_kind: Context of the subject: `recovery`, `backup` or `dr`.
        run_id: Identity of the run.
    """

    entity_field: ClassVar[str] = "run_id"

    run_kind: str
    run_id: str

    @override
    def subject(self, subjects: Subjects) -> str:
        """Where this entry is appended."""
        return subjects.event(self.run_kind, self.run_id, self.event_name())


class RunStarted(RunEvent, frozen=True, kw_only=True):
    """First entry: the whole plan as it will be run, so that a later edit of a plan changes nothing here.

    Attributes:
        resource: What the run works on; at most one unfinished run holds a resource.
        plan: The resolved plan.
        plan_hash: SHA-256 of the plan's canonical JSON.
        incident_id: The failure that caused it, if one did.
        started_by: `policy`, or the person who ordered it.
        reason: One sentence.
        facts: What the plan may refer to as `${run.<name>}`.
    """

    resource: str
    plan: Plan
    plan_hash: str
    incident_id: str | None = None
    started_by: str = "policy"
    reason: str = ""
    facts: JsonObject = {}


class LeaseTaken(RunEvent, frozen=True, kw_only=True):
    """An instance became the leader of the run. Its epoch is (incarnation, this entry's stream sequence).

    Attributes:
        instance: The leader from here on.
        incarnation: See `Epoch.incarnation`; above the stream's own when a worker knew a higher one.
        orderly: The leader before gave the run up on purpose, or it is the same one again. Otherwise it may
            have died of the step that was in progress.
    """

    instance: str
    incarnation: int
    orderly: bool = False


class StepStarted(RunEvent, frozen=True, kw_only=True):
    """The intent: written before the order is given, so that a crash leaves it visible as unknown.

    Attributes:
        branch: Name of the branch of the plan.
        step: Identity of the step in the plan.
        phase: Doing, verifying or undoing it.
        attempt: 1 for the first.
        command_id: Stays the same when the same order is sent again.
        worker: Who is ordered.
        action: What is ordered, e.g. `postgres.promote`.
        params: With all references resolved.
        epoch: Of the leader that orders.
        expires_at: The worker refuses the order after this, UTC.
    """

    branch: str
    step: str
    phase: Phase
    attempt: int
    command_id: str
    worker: str
    action: str
    params: JsonObject
    epoch: Epoch
    expires_at: datetime


class StepFinished(RunEvent, frozen=True, kw_only=True):
    """The outcome of an intent.

    Attributes:
        status: What became of it.
        result: What the worker answered; later steps may refer to it.
        error_code: Stable code when it did not succeed.
        error: One sentence for people.
        duration_s: From the first time this order was sent to its outcome, seconds.
    """

    branch: str
    step: str
    phase: Phase
    attempt: int
    command_id: str
    status: OutcomeStatus
    result: JsonObject = {}
    error_code: str = ""
    error: str = ""
    duration_s: float = 0.0


class LateReplyRecorded(RunEvent, frozen=True, kw_only=True):
    """An outcome arrived for an order that the run had given up on: what is done is done, and is undone."""

    command_id: str
    step: str
    status: OutcomeStatus
    result: JsonObject = {}


class Intervention(StrEnum):
    """What a person may order of a run."""

    PAUSE = "pause"
    RESUME = "resume"
    RETRY = "retry"
    SKIP = "skip"
    MARK_DONE = "mark-done"
    ABORT = "abort"


class OperatorIntervened(RunEvent, frozen=True, kw_only=True):
    """A person steered the run.

    Attributes:
        step: The step it concerns; empty for the run as a whole.
        by: Who ordered it.
        comment: Why; required for skip and mark-done.
        result: For mark-done: the step's result as the person gives it.
    """

    intervention: Intervention
    step: str = ""
    by: str
    comment: str = ""
    result: JsonObject = {}


class RunPaused(RunEvent, frozen=True, kw_only=True):
    """The run waits for a person.

    Attributes:
        reason: Why it cannot decide by itself, and what a person may do.
    """

    reason: str
    step: str = ""


class BranchDeferred(RunEvent, frozen=True, kw_only=True):
    """A disruptive branch must not begin now: it is tried after all others, and waits until it may.

    Its next `StepStarted` says that it has begun. A person lets it begin at once by `resume`.

    Attributes:
        branch: Name of the branch of the plan.
        hold: What holds it, e.g. the maintenance window's id.
        reason: One sentence for people.
        until: When that is expected to end, UTC; None when nobody knows.
    """

    branch: str
    hold: str
    reason: str
    until: datetime | None = None


class StepSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a finished run's summary."""

    branch: str
    step: str
    action: str
    phase: Phase
    status: OutcomeStatus
    attempts: int
    duration_s: float
    error: str = ""


class RunFinished(RunEvent, frozen=True, kw_only=True):
    """Last entry.

    Attributes:
        ending: How it ended.
        duration_s: From `RunStarted`, seconds, waiting for people included.
        steps: Every attempt in order.
        reason: One sentence.
    """

    ending: Ending
    duration_s: float
    steps: tuple[StepSummary, ...] = ()
    reason: str = ""
