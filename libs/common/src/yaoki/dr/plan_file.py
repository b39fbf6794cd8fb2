"""What stands in a plan: YAML as people write it. Durations are seconds once read."""

from typing import Annotated, Any, ClassVar

import msgspec

from yaoki.config.base import Section
from yaoki.config.forms import Duration, Name, PositiveDuration
from yaoki.disasters import DisasterClass, Severity
from yaoki.plans import Effect, StepKind

Text = Annotated[str, msgspec.Meta(min_length=1)]
Attempts = Annotated[int, msgspec.Meta(ge=1)]


class ParameterEntry(Section, frozen=True, kw_only=True):
    """Something that differs between installations; `${param.<name>}` stands for its value, which is a text.

    Attributes:
        description: What it is, for the person who fills it in.
        default: Its value where none is given; without one it has to be given.
        example: What is shown and checked with until a value is given; needed where there is no default.
    """

    description: Text
    default: str | None = None
    example: str = ""


class CallEntry(Section, frozen=True, kw_only=True):
    """A command; a bare name stands for one without parameters.

    Attributes:
        command: What to order; `docs/plans.md` lists what there is.
        params: Of the command; text in it may refer to results of earlier steps, `${<step>.<field>}`.
    """

    shorthand: ClassVar[str] = "command"

    command: Text
    params: dict[str, Any] = {}


class ApprovalEntry(Section, frozen=True, kw_only=True):
    """A person has to agree before the step begins; a bare text stands for what is asked.

    Attributes:
        ask: What the person agrees to.
        timeout: How long the answer is waited for; without one the plan has failed and is taken back.
    """

    shorthand: ClassVar[str] = "ask"

    ask: Text
    timeout: PositiveDuration = 3600.0


class StepEntry(Section, frozen=True, kw_only=True):
    """One step.

    Attributes:
        id: Unique in the plan, fragments included.
        title: What it does, for people.
        do: What to order.
        awaits: The event that ends the command, or `reply`; only to hold the plan to what its writer believed.
        timeout: For one attempt.
        estimated: How long it usually takes.
        attempts: How often it may be tried.
        retry_delay: Between two attempts.
        verify: A check afterwards; the step has succeeded only when this has.
        undo: How it is taken back when a later step fails.
        undo_attempts: Taking back is tried harder.
        kind: `pivot`: once it has happened nothing is taken back any more. `forward`: never taken back itself.
        effect: What may be done about a lost outcome; see `yaoki.plans.Effect`.
        required: A step that is not may fail without failing the plan.
        approval: Who has to agree first.
    """

    id: Name
    title: str = ""
    do: CallEntry
    awaits: str | None = None
    timeout: PositiveDuration
    estimated: PositiveDuration
    attempts: Attempts = 1
    retry_delay: Duration = 1.0
    verify: CallEntry | None = None
    undo: CallEntry | None = None
    undo_attempts: Attempts = 5
    kind: StepKind = StepKind.COMPENSABLE
    effect: Effect = Effect.IDEMPOTENT
    required: bool = True
    approval: ApprovalEntry | None = None


class ParallelEntry(Section, frozen=True, kw_only=True):
    """Steps that run at the same time.

    Attributes:
        parallel: At least two steps.
    """

    parallel: tuple[StepEntry, ...]


class IncludeEntry(Section, frozen=True, kw_only=True):
    """The steps of a fragment, in this place.

    Attributes:
        include: The fragment's file, relative to the folder of the plans.
        params: Values for the fragment's parameters.
    """

    include: Text
    params: dict[str, str] = {}


class FragmentFile(Section, frozen=True, kw_only=True):
    """Steps that several plans share.

    Attributes:
        parameters: By name.
        steps: In order.
    """

    parameters: dict[Name, ParameterEntry] = msgspec.field(default_factory=dict)
    steps: Annotated[tuple[Any, ...], msgspec.Meta(min_length=1)]


class PlanFile(Section, frozen=True, kw_only=True):
    """One plan.

    Attributes:
        name: Unique among the plans; the name of the file.
        title: What it is for, one sentence.
        answers: The class of disaster that it is for; none for a plan that only people start.
        severity: Decides which recovery time and recovery point it is held to.
        resource: What it works on; at most one unfinished run holds a resource.
        parameters: By name.
        steps: In order; each a step, `parallel`, or `include`.
        verify: Proof that the disaster is over, tried until it succeeds or `verify_timeout` is over.
        verify_timeout: See `verify`.
    """

    name: Name
    title: Text
    answers: DisasterClass | None = None
    severity: Severity = Severity.CRITICAL
    resource: str = "system"
    parameters: dict[Name, ParameterEntry] = msgspec.field(default_factory=dict)
    steps: Annotated[tuple[Any, ...], msgspec.Meta(min_length=1)]
    verify: CallEntry | None = None
    verify_timeout: PositiveDuration = 60.0
