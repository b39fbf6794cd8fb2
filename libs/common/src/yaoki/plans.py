"""What a run is made of: plans, orders and outcomes. Pure values; no I/O."""

from __future__ import annotations

import hashlib
from datetime import datetime  # noqa: TC003 - msgspec reads the annotation at run time
from enum import StrEnum
from typing import Any

import msgspec

from yaoki.epoch import Epoch  # noqa: TC001 - as above

JsonObject = dict[str, Any]

GOAL_STEP = "goal"
EXHAUSTED_BRANCH = "on-exhausted"


class StepKind(StrEnum):
    """What may happen after a step when a later one fails."""

    COMPENSABLE = "compensable"
    PIVOT = "pivot"
    FORWARD = "forward"


class Effect(StrEnum):
    """What may be done with an order whose outcome is unknown.

    IDEMPOTENT: send it again. OBSERVABLE: the worker can tell whether it happened; ask first.
    ONCE: neither; the run pauses for a person.
    """

    IDEMPOTENT = "idempotent"
    OBSERVABLE = "observable"
    ONCE = "once"


class Phase(StrEnum):
    """Which of a step's orders an entry belongs to."""

    DO = "do"
    VERIFY = "verify"
    UNDO = "undo"


class OutcomeStatus(StrEnum):
    """What became of an order.

    SUCCEEDED, FAILED: done, or tried in vain. SKIPPED: a precondition did not hold and nothing was done.
    REFUSED: the worker will not (stale epoch, expired, not allowed) and nothing was done.
    CANCELLED: cancelled before it began and it never will. RUNNING: not finished. UNKNOWN: nobody can tell.
    """

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    REFUSED = "refused"
    CANCELLED = "cancelled"
    RUNNING = "running"
    UNKNOWN = "unknown"

    @property
    def effective(self) -> bool:
        """The order may have changed something, wholly or in part, and is compensated."""
        return self in _EFFECTIVE

    @property
    def final(self) -> bool:
        """Asking again will not change the answer."""
        return self not in _OPEN


_EFFECTIVE = frozenset({OutcomeStatus.SUCCEEDED, OutcomeStatus.FAILED, OutcomeStatus.UNKNOWN})
_OPEN = frozenset({OutcomeStatus.RUNNING, OutcomeStatus.UNKNOWN})


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """An action of a worker with its parameters.

    Strings in `worker` and `params` may hold references, resolved when the order is given:
    `${run.<fact>}` from `RunStarted.facts` (and `run.id`, `run.resource`, `run.kind` where no fact has that
    name), `${<step>.<field>}` from an earlier step's result. A string that is one reference and nothing else
    takes the referenced value with its type.
    """

    worker: str
    action: str
    params: JsonObject = {}


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a plan.

    Attributes:
        id: Unique in the plan.
        do: What to order.
        undo: How to compensate it; None when there is nothing to undo.
        verify: A check ordered after `do`; the step has succeeded only when it succeeds.
        kind: After a PIVOT succeeded nothing is undone any more.
        effect: How an unknown outcome is resolved.
        timeout_s: For one attempt, seconds.
        attempts: How often `do` may be tried; each attempt is a new order.
        retry_delay_s: Pause between attempts, seconds.
        undo_attempts: Compensations try harder than forward steps.
        required: A step that is not required may fail without failing its branch.
        group: Neighbouring steps with the same group run at the same time.
        estimated_s: For plans that promise a recovery time.
    """

    id: str
    do: Call
    undo: Call | None = None
    verify: Call | None = None
    kind: StepKind = StepKind.COMPENSABLE
    effect: Effect = Effect.IDEMPOTENT
    timeout_s: float = 30.0
    attempts: int = 1
    retry_delay_s: float = 1.0
    undo_attempts: int = 5
    required: bool = True
    group: str = ""
    estimated_s: float | None = None


class Branch(msgspec.Struct, frozen=True, kw_only=True):
    """A sequence of steps that together are one way to the goal.

    In the journal its `verify` stands as the step `goal`.

    Attributes:
        name: Unique in the plan.
        steps: In order.
        verify: Proof that the goal is reached; the branch has worked only when it succeeds. Tried until it
            succeeds or `verify_timeout_s` is over.
        delay_s: Pause before this branch after the one before it failed; none after one that was skipped.
        disruptive: It does not begin while a hold is on the run: it is put behind the others, and waits there.
        if_deferred: It is tried only after a hold had put it off; otherwise it is passed over.
    """

    name: str
    steps: tuple[Step, ...]
    verify: Call | None = None
    verify_timeout_s: float = 10.0
    delay_s: float = 0.0
    disruptive: bool = False
    if_deferred: bool = False


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Alternatives in the order in which they are tried; a plain saga has one.

    A branch that fails is compensated, then the next is tried. Past a pivot nothing is undone and no other
    branch is tried: the run ends FAILED_NO_ROLLBACK, or VERIFICATION_FAILED when only the goal was not proven.
    When a compensation fails the others still run, no other branch is tried, and the run ends ROLLBACK_FAILED.
    A branch whose first required step is SKIPPED costs no delay. When all failed, the run ends EXHAUSTED (more
    than one branch) or ROLLED_BACK (one). The steps of `on_exhausted` are run before each of these endings, in
    the journal under the branch `on-exhausted`; their failures are recorded and passed over.
    """

    name: str
    branches: tuple[Branch, ...]
    on_exhausted: tuple[Step, ...] = ()

    def digest(self) -> str:
        """SHA-256 of the canonical JSON, hexadecimal: what approvals and reports name."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker receives.

    Attributes:
        command_id: The same in every resend; the worker performs it at most once and answers repeats.
        resource: What the run holds; epochs are compared for each resource.
        epoch: The worker refuses it when it has obeyed a higher one for the resource.
        expires_at: Refused after this moment, UTC; a handler that still runs then is cancelled.
        effect: What the worker may do when the one who performed it died.
    """

    command_id: str
    run_kind: str
    run_id: str
    resource: str
    step: str
    phase: Phase
    action: str
    params: JsonObject
    epoch: Epoch
    expires_at: datetime
    effect: Effect = Effect.IDEMPOTENT
    incident_id: str | None = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker answers."""

    command_id: str
    status: OutcomeStatus
    result: JsonObject = {}
    error_code: str = ""
    error: str = ""
