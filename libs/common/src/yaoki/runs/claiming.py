"""Single flight: a run begins only when it holds its resource, and gives it back when everybody was told its end."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import structlog

from yaoki.errors import ConflictError, TransientError
from yaoki.events.runs import Ending, RunFinished
from yaoki.runs.errors import JournalDamagedError, JournalFromFutureError, ResourceBusyError
from yaoki.runs.fold import begin, fold
from yaoki.runs.ports import Recorded
from yaoki.runs.reading import as_damaged

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from yaoki.clock import Clock, IdSource
    from yaoki.events.runs import RunStarted
    from yaoki.runs.ports import Journal
    from yaoki.runs.registry import Claim, RunRegistry
    from yaoki.runs.state import RunState

_log = structlog.get_logger("yaoki.runs")


class RunClaims:
    """Beginning and end of runs.

    Args:
        journal: Where runs are written.
        registry: Who holds which resource.
        clock: For the time of an ending.
        ids: For entries.
    """

    def __init__(self, journal: Journal, registry: RunRegistry, clock: Clock, ids: IdSource) -> None:
        self._journal = journal
        self._registry = registry
        self._clock = clock
        self._ids = ids
        self._callbacks: list[Callable[[RunState], Awaitable[None]]] = []

    def on_finished(self, callback: Callable[[RunState], Awaitable[None]]) -> None:
        """Have `callback` called, at least once, before the resource of a finished run is given back."""
        self._callbacks.append(callback)

    async def claim(self, started: RunStarted) -> Claim:
        """Hold the resource for this run.

        Raises:
            ResourceBusyError: Another unfinished run holds it.
        """
        while True:
            held = await self._registry.get(started.run_kind, started.resource)
            if held is not None and held.run_id == started.run_id:
                return held
            if held is not None and not await self._over(held):
                raise ResourceBusyError(
                    f"run {held.run_id} works on {started.resource!r} and is not finished", run_id=held.run_id
                )
            with contextlib.suppress(ConflictError):
                return await self._registry.create(started)

    async def _over(self, claim: Claim) -> bool:
        """Whether the run of a claim has ended, which is then concluded here.

        One that was claimed and never written down is written now.
        """
        try:
            state = await self.load_claimed(claim)
        except JournalFromFutureError:
            return False  # a newer version has it in hand
        if state.ending is None:
            return False
        await self.conclude(state, claim)
        return True

    async def load_claimed(self, claim: Claim) -> RunState:
        """The run of a claim, written down first if need be."""
        run_kind, run_id = claim.started.run_kind, claim.run_id
        state = await self._load(claim)
        if state is None:
            await self.write_start(claim)
            state = await self._load(claim)
        if state is None:
            raise TransientError(f"the first entry of {run_kind} run {run_id} cannot be read yet")
        return state

    async def _load(self, claim: Claim) -> RunState | None:
        try:
            return fold(await self._journal.load(claim.started.run_kind, claim.run_id))
        except JournalDamagedError as error:
            return await self.end_damaged(claim, error)

    async def write_start(self, claim: Claim) -> None:
        """Append the run's first entry; the same from whoever does it, and stored once."""
        with contextlib.suppress(ConflictError):  # somebody else wrote it
            await self._journal.append(
                claim.started, after=0, event_id=f"{claim.started.run_kind}.{claim.run_id}.started"
            )

    async def conclude(self, state: RunState, claim: Claim) -> None:
        """Tell who wants to know, then free the resource: a crash in between tells again."""
        for callback in self._callbacks:
            await callback(state)
        with contextlib.suppress(ConflictError):  # it was concluded elsewhere, and another run holds it by now
            await self._registry.release(claim)

    async def end_damaged(self, claim: Claim, error: JournalDamagedError) -> RunState:
        """A journal that contradicts itself is never driven on: the run ends and people have to look.

        Returns:
            What is certain of it: how it began, and this ending.
        """
        _log.error("journal damaged", run=claim.run_id, error=error.message)
        ended = RunFinished(
            run_kind=claim.started.run_kind,
            run_id=claim.run_id,
            ending=Ending.ERROR,
            duration_s=0.0,
            reason=error.message,
        )
        if error.last:
            with contextlib.suppress(ConflictError):  # somebody else has just ended it
                await self._journal.append(ended, after=error.last, event_id=self._ids.new())
        return as_damaged(begun(claim, self._clock), error)


def begun(claim: Claim, clock: Clock) -> RunState:
    """A run of which nothing but its claim can be read."""
    return begin(Recorded(event=claim.started, id="", sequence=0, at=clock.now()))
