"""A run as people and other services are shown it. Pure."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from yaoki.commands.recovery import RunView
from yaoki.events.runs import StepSummary
from yaoki.plans import OutcomeStatus

if TYPE_CHECKING:
    from yaoki.runs.state import RunState

MAX_SUMMARIES = 2000
_MAX_ERROR = 500
_MAX_ERRORS = 200_000
"""An entry must stay below NATS' 1 MiB; a summary without its error is about 200 bytes."""


def summaries(state: RunState) -> tuple[StepSummary, ...]:
    """Every order in the sequence in which it was given; the newest `MAX_SUMMARIES` of them."""
    orders = list(state.orders.values())[-MAX_SUMMARIES:]
    length = min(_MAX_ERROR, _MAX_ERRORS // max(1, sum(bool(order.error) for order in orders)))
    return tuple(
        StepSummary(
            branch=order.intent.branch,
            step=order.intent.step,
            action=order.intent.action,
            phase=order.intent.phase,
            status=order.status or OutcomeStatus.RUNNING,
            attempts=order.intent.attempt,
            duration_s=order.duration_s,
            error=order.error[:length],
        )
        for order in orders
    )


def view(state: RunState) -> RunView:
    """The run as it stands."""
    waiting = state.waits_for
    unfinished = "paused" if state.paused else "waiting" if waiting else "running"
    held = f"{waiting.branch.name} waits: {waiting.deferred_why}" if waiting else ""
    return RunView(
        run_id=state.run_id,
        run_kind=state.run_kind,
        resource=state.resource,
        plan=state.plan.name,
        status=unfinished if state.ending is None else state.ending.value,
        leader=state.leader.instance if state.leader else "",
        started_at=state.started_at,
        incident_id=state.incident_id,
        steps=summaries(state),
        reason=state.paused or held or state.reason or state.why,
        facts=state.facts,
        ended_at=state.started_at + timedelta(seconds=state.duration_s) if state.ending else None,
    )
