"""What a run's journal amounts to. Built by `yaoki.runs.fold`, read by `yaoki.runs.decide`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from yaoki.epoch import NO_EPOCH, Epoch
from yaoki.plans import (
    EXHAUSTED_BRANCH,
    GOAL_STEP,
    Branch,
    Call,
    Effect,
    JsonObject,
    Order,
    Phase,
    Plan,
    Step,
    StepKind,
)
from yaoki.runs.step_state import OrderState, StepState

if TYPE_CHECKING:
    from datetime import datetime

    from yaoki.events.runs import Ending


class BranchState(msgspec.Struct, kw_only=True):
    """How far a branch got.

    Attributes:
        cursor: Index of the first step that is not passed. Only grows.
        touched: Indexes of steps in the order in which they were first ordered.
        retired: How many of `touched`, from its end, have nothing left to be undone.
        pivots: Indexes of the steps after which nothing is undone.
        goal: The branch's own verification.
        compensating: A compensation of this branch has been ordered: no forward order of it any more.
        last_at: When its newest entry was stored.
        deferred: The hold that last put the branch off; empty when none did.
        deferred_why: What it said.
        released: A person let it begin whatever holds it.
    """

    branch: Branch
    index: dict[str, int]
    cursor: int = 0
    touched: list[int] = []
    retired: int = 0
    pivots: tuple[int, ...] = ()
    goal: StepState
    compensating: bool = False
    last_at: datetime | None = None
    deferred: str = ""
    deferred_why: str = ""
    released: bool = False

    @property
    def waiting(self) -> bool:
        """It was put off, has not begun since, and nobody has released it."""
        return bool(self.deferred) and self.last_at is None and not self.released


class Leader(msgspec.Struct, frozen=True, kw_only=True):
    """Who leads the run."""

    instance: str
    epoch: Epoch


class RunState(msgspec.Struct, kw_only=True):
    """A run as its journal tells it; changed only by `yaoki.runs.fold.apply`.

    Attributes:
        branches: In the order in which they are tried: the plan's, with those that were deferred behind the others.
        last: Sequence of the newest entry: what the next append is checked against.
        began: Index of the branch that was ordered from last; `len(plan.branches)` is `on_exhausted`.
        tried: As `began`, but without `on_exhausted`.
        unknown: Orders given up as unknown whose worker has not yet excluded a late beginning.
        paused: Why the run waits for a person; empty when it does not.
        aborted_by: Who aborted the run; empty when nobody did.
        interventions: How many times people steered the run.
        ending: None while the run is unfinished.
    """

    run_kind: str
    run_id: str
    resource: str
    plan: Plan
    plan_hash: str
    facts: JsonObject
    incident_id: str | None
    started_by: str
    why: str
    started_at: datetime
    last: int
    last_at: datetime
    branches: list[BranchState]
    steps: dict[tuple[str, str], StepState] = {}
    orders: dict[str, OrderState] = {}
    open_orders: dict[str, OrderState] = {}
    unknown: dict[str, OrderState] = {}
    leader: Leader | None = None
    began: int = 0
    tried: int = 0
    paused: str = ""
    aborted_by: str = ""
    interventions: int = 0
    ending: Ending | None = None
    reason: str = ""
    duration_s: float = 0.0

    @property
    def epoch(self) -> Epoch:
        """Of the leader."""
        return self.leader.epoch if self.leader else NO_EPOCH

    @property
    def waits_for(self) -> BranchState | None:
        """The deferred branch for which the run waits, nothing else being left to be tried before it."""
        if self.open_orders or self.ending is not None:
            return None
        ahead = [branch for branch in self.branches[self.began :] if branch.last_at is None]
        following = [branch for branch in ahead if branch.deferred or not branch.branch.if_deferred]
        return following[0] if following and following[0].waiting else None

    def step(self, branch: str, step: str) -> StepState:
        """State of a step; one to which nothing happened when it was never ordered."""
        return self.steps.get((branch, step)) or StepState()

    def result(self, step: str) -> JsonObject | None:
        """Result of the step with this id; None while there is none."""
        for found in self.branches:
            if step in found.index:
                return self.step(found.branch.name, step).result
        return None

    def definition(self, branch: str, step: str) -> Step:
        """The plan's step, or the branch's goal as a step."""
        found = next(state for state in self.branches if state.branch.name == branch)
        if step == GOAL_STEP:
            return goal_step(found.branch)
        return found.branch.steps[found.index[step]]

    def call(self, order: OrderState) -> Call | None:
        """What the plan says for an intent, its references unresolved."""
        step = self.definition(order.intent.branch, order.intent.step)
        if order.intent.phase is Phase.DO:
            return step.do
        return step.verify if order.intent.phase is Phase.VERIFY else step.undo

    def order(self, order: OrderState) -> Order:
        """What the worker receives for an intent; resends carry the present leader's epoch."""
        intent = order.intent
        step = self.definition(intent.branch, intent.step)
        return Order(
            command_id=intent.command_id,
            run_kind=self.run_kind,
            run_id=self.run_id,
            resource=self.resource,
            step=intent.step,
            phase=intent.phase,
            action=intent.action,
            params=intent.params,
            epoch=self.epoch,
            expires_at=intent.expires_at,
            effect=step.effect if intent.phase is Phase.DO else Effect.IDEMPOTENT,
            incident_id=self.incident_id,
        )


def goal_step(branch: Branch) -> Step:
    """A branch's verification in the shape of a step, with only its `verify`."""
    call = branch.verify or branch.steps[0].do
    return Step(id=GOAL_STEP, do=call, verify=call, kind=StepKind.FORWARD, timeout_s=branch.verify_timeout_s)


def branches_of(plan: Plan) -> list[BranchState]:
    """Untouched branches of a plan; the last one is `on_exhausted`, whose steps are all optional."""
    last = Branch(
        name=EXHAUSTED_BRANCH,
        steps=tuple(msgspec.structs.replace(step, required=False) for step in plan.on_exhausted),
    )
    return [
        BranchState(
            branch=branch,
            index={step.id: position for position, step in enumerate(branch.steps)},
            pivots=tuple(index for index, step in enumerate(branch.steps) if step.kind is StepKind.PIVOT),
            goal=StepState(),
        )
        for branch in (*plan.branches, last)
    ]
