"""Whether a history keeps the promises of durable runs."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from yaoki.epoch import NO_EPOCH, Epoch
from yaoki.errors import FatalError
from yaoki.events.runs import (
    Intervention,
    LeaseTaken,
    OperatorIntervened,
    RunFinished,
    RunPaused,
    StepStarted,
)
from yaoki.plans import Phase
from yaoki.runs.fold import fold
from yaoki.runs.verdict import past_pivot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from yaoki.runs.state import RunState
    from yaoki.testing.simulation.history import History
    from yaoki.testing.simulation.hosts import Effect


def check(history: History, *, repeatable: frozenset[str] = frozenset()) -> list[str]:
    """Every promise that was broken, as a sentence; empty when all were kept.

    Args:
        history: A finished run.
        repeatable: Steps whose effect may happen again for one command, because the process that performed it
            died, or because nothing durable remembers it.
    """
    try:
        state = fold(history.entries)
    except FatalError as error:
        return [error.message]
    if state is None or state.ending is None:
        return ["the run is not finished"]
    return [
        *_of_journal(history),
        *_of_epochs(history),
        *_of_pauses(history),
        *_of_order(state, history.effects),
        *_of_repetition(history.effects, repeatable),
        *_of_pivots(state, history.effects),
        *_of_intents(state, history.effects),
    ]


def standing(history: History) -> set[str]:
    """Steps whose effect is in the world at the end: done, and not undone after."""
    found: set[str] = set()
    for effect in history.effects:
        if effect.phase is Phase.UNDO and not effect.failed:
            found.discard(effect.step)
        elif effect.phase is Phase.DO:
            found.add(effect.step)
    return found


def _of_journal(history: History) -> Iterator[str]:
    compensated: set[str] = set()
    for position, entry in enumerate(history.entries, 1):
        event = entry.event
        if isinstance(event, StepStarted) and event.phase is Phase.UNDO:
            compensated.add(event.branch)
        elif isinstance(event, StepStarted) and event.branch in compensated:
            yield f"entry {position}: {event.step} is ordered after compensation of branch {event.branch} began"
        elif isinstance(event, RunFinished) and position != len(history.entries):
            yield f"entry {position}: the run is finished, and entries follow"
    for prefix in history.prefixes:
        if history.entries[: len(prefix)] != prefix:
            yield f"the first {len(prefix)} entries are not those that stood there when a process died"


def _of_epochs(history: History) -> Iterator[str]:
    highest = NO_EPOCH
    for entry in history.entries:
        if isinstance(entry.event, LeaseTaken):
            epoch = Epoch(entry.event.incarnation, entry.sequence)
            if epoch <= highest:
                yield f"epoch {epoch} does not rise above {highest}"
            highest = epoch


def _of_pauses(history: History) -> Iterator[str]:
    """While a person holds the run nothing new is ordered."""
    held = False
    for position, entry in enumerate(history.entries, 1):
        event = entry.event
        if isinstance(event, OperatorIntervened):
            held = event.intervention is Intervention.PAUSE
        elif isinstance(event, RunPaused):
            held = True
        elif held and isinstance(event, StepStarted):
            yield f"entry {position}: {event.step} is ordered while the run is paused"


def _of_order(state: RunState, effects: list[Effect]) -> Iterator[str]:
    """A forward effect in a branch whose compensation has taken effect somewhere would never be undone."""
    compensated: set[str] = set()
    for effect in effects:
        branch = _branch_of(state, effect)
        if effect.phase is Phase.UNDO:
            compensated.add(branch)
        elif branch in compensated:
            yield f"{effect.command_id} took effect after compensation of branch {branch} began"


def _of_repetition(effects: list[Effect], repeatable: frozenset[str]) -> Iterator[str]:
    for command_id, count in Counter(effect.command_id for effect in effects).items():
        step = next(effect.step for effect in effects if effect.command_id == command_id)
        if count > 1 and step not in repeatable:
            yield f"{command_id} took effect {count} times"


def _of_pivots(state: RunState, effects: list[Effect]) -> Iterator[str]:
    for branch in state.branches:
        name = branch.branch.name
        pivots = [step.id for step in branch.branch.steps if past_pivot(step, state.step(name, step.id))]
        undone = [effect for effect in effects if effect.phase is Phase.UNDO and _branch_of(state, effect) == name]
        if pivots and undone:
            yield f"{undone[0].command_id} undid something past the pivot {pivots[0]}"


def _of_intents(state: RunState, effects: list[Effect]) -> Iterator[str]:
    """Nothing happens in the world that was not written before."""
    for effect in effects:
        if effect.command_id not in state.orders:
            yield f"{effect.command_id} took effect without an intent in the journal"


def _branch_of(state: RunState, effect: Effect) -> str:
    order = state.orders.get(effect.command_id)
    return order.intent.branch if order is not None else ""
