"""A run as its journal tells it, also when the journal is damaged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaoki.events.runs import Ending
from yaoki.runs.errors import JournalDamagedError
from yaoki.runs.fold import fold

if TYPE_CHECKING:
    from yaoki.runs.ports import Journal
    from yaoki.runs.state import RunState


async def read_run(journal: Journal, run_kind: str, run_id: str) -> RunState | None:
    """The run; None when there is none. Of a damaged one what was sound, ended as `error`.

    Raises:
        JournalDamagedError: Not even its first entry is sound.
        JournalFromFutureError: See `Journal.load`.
        TransientError: See `Journal.load`.
    """
    try:
        return fold(await journal.load(run_kind, run_id))
    except JournalDamagedError as error:
        state = fold(error.sound)
        if state is None:
            raise
        return as_damaged(state, error)


def as_damaged(state: RunState, error: JournalDamagedError) -> RunState:
    """The sound part of a run whose journal goes on in a way that nobody understands."""
    state.ending, state.reason, state.last = Ending.ERROR, error.message, max(state.last, error.last)
    return state
