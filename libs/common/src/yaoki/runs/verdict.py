"""Where one step stands, from its orders alone. Pure, and without time."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

from yaoki.plans import Effect, OutcomeStatus, Phase, StepKind

if TYPE_CHECKING:
    from yaoki.plans import Step
    from yaoki.runs.step_state import OrderState, StepState

_MAX_NEVER_BEGAN = 5
"""Orders that may lapse or be cancelled before they begin without costing an attempt. A worker whose clock is
ahead would otherwise refuse for ever."""


class Verdict(Enum):
    """What a step needs next.

    PASSED, FAILED, SKIPPED: nothing more. OPEN: an order without outcome is to be carried on. DO, VERIFY: a new
    order. ASK: a person must say whether it happened.
    """

    PASSED = auto()
    FAILED = auto()
    SKIPPED = auto()
    OPEN = auto()
    DO = auto()
    VERIFY = auto()
    ASK = auto()

    @property
    def over(self) -> bool:
        """Nothing more is ordered of the step."""
        return self in (Verdict.PASSED, Verdict.FAILED, Verdict.SKIPPED)


def judge(step: Step, state: StepState) -> Verdict:  # noqa: PLR0911 - one line for each rule, in order of precedence
    """The verdict on a forward step.

    Safety: an order whose outcome is unknown is followed by another attempt only when the effect is idempotent
    or a person granted it.
    """
    if any(order.open for order in (*state.do[-1:], *state.verify[-1:])):
        return Verdict.OPEN
    if state.skipped or state.done_by_hand:
        return Verdict.PASSED
    order = state.accepted
    if order is None:
        return Verdict.DO
    if order.status is OutcomeStatus.SUCCEEDED:
        return _judge_success(step, state, order)
    if order.status is OutcomeStatus.SKIPPED and not state.granted:
        return Verdict.SKIPPED
    unknown = sum(1 for other in state.do if other.status is OutcomeStatus.UNKNOWN)
    if order.status is OutcomeStatus.UNKNOWN and step.effect is not Effect.IDEMPOTENT and unknown > state.granted:
        return Verdict.ASK if step.effect is Effect.ONCE and step.required else Verdict.FAILED
    return _another(step, state)


def undo_failed(step: Step, state: StepState) -> bool:
    """The compensation was tried as often as it may be since the last that was heard of an effect."""
    orders = [order for order in state.undo if order.changed > state.last_effect]
    tried = sum(1 for order in orders if order.began)
    return tried >= step.undo_attempts or len(orders) - tried >= _MAX_NEVER_BEGAN


def undo_due(step: Step, state: StepState) -> bool:
    """Something may have been changed that has not been compensated.

    A failed step counts: parts of it may have happened. So does a step whose success became known only after an
    earlier compensation: what happened late is undone late.
    """
    return step.undo is not None and step.kind is not StepKind.FORWARD and state.effective and not state.undone


def undo_over(step: Step, state: StepState) -> bool:
    """Nothing is left to be compensated, or it cannot be, as far as is known."""
    if state.undo and state.undo[-1].open:
        return False
    return not undo_due(step, state) or undo_failed(step, state)


def past_pivot(step: Step, state: StepState) -> bool:
    """The step is a pivot and has happened, or nobody can exclude that it has."""
    happened = (OutcomeStatus.SUCCEEDED, OutcomeStatus.UNKNOWN)
    return step.kind is StepKind.PIVOT and (state.done_by_hand or any(order.status in happened for order in state.do))


def _judge_success(step: Step, state: StepState, order: OrderState) -> Verdict:
    if step.verify is None:
        return Verdict.PASSED
    check = state.verification(order)
    if check is None or not (check.began or too_many_never_began(state, Phase.VERIFY)):
        return Verdict.VERIFY
    if check.status is OutcomeStatus.SUCCEEDED:
        return Verdict.PASSED
    return _another(step, state)


def _another(step: Step, state: StepState) -> Verdict:
    tried = sum(1 for order in state.do if order.began)
    allowed = step.attempts + state.granted
    return Verdict.DO if tried < allowed and not too_many_never_began(state, Phase.DO) else Verdict.FAILED


def too_many_never_began(state: StepState, phase: Phase) -> bool:
    """So many orders lapsed before they began that another would fare no better."""
    return sum(1 for order in state.orders(phase) if not order.began) >= _MAX_NEVER_BEGAN
