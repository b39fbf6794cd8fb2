"""One run's journal as its leader writes it: appends by compare-and-set, keeps the state, notices rivals."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from yaoki import faults
from yaoki.errors import ConflictError, TransientError
from yaoki.events.runs import LeaseTaken, OperatorIntervened, RunEvent, StepStarted
from yaoki.runs.errors import JournalDamagedError, LeadershipLostError
from yaoki.runs.fold import apply

if TYPE_CHECKING:
    from collections.abc import Callable

    from yaoki.clock import Clock, IdSource
    from yaoki.epoch import Epoch
    from yaoki.runs.ports import Journal, Recorded
    from yaoki.runs.state import RunState

_log = structlog.get_logger("yaoki.runs")
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0


class Journalist:
    """Writes one run's journal and folds what is in it.

    Invariant: `state` is the fold of a prefix of the journal, and an entry is appended only directly after the
    last one that `state` knows. Leadership is what the journal says: once another instance's `LeaseTaken` is
    read, every append raises LeadershipLostError.

    Attributes:
        changed: Set whenever an entry was applied, but for this leader's own intents: nothing follows from them.
    """

    def __init__(self, state: RunState, journal: Journal, clock: Clock, ids: IdSource, instance: str) -> None:
        self.state = state
        self.changed = asyncio.Event()
        self._journal = journal
        self._clock = clock
        self._ids = ids
        self._instance = instance
        self._epoch: Epoch | None = None
        self._lock = asyncio.Lock()
        self._read_ids: set[str] = set()

    @property
    def epoch(self) -> Epoch:
        """Of this leader."""
        if self._epoch is None:
            raise LeadershipLostError(f"run {self.state.run_id} is not led by {self._instance}")
        return self._epoch

    async def take_lead(self, *, incarnation: int, orderly: bool) -> None:
        """Become the leader.

        Raises:
            LeadershipLostError: The run is over, or another instance was faster.
        """
        async with self._lock:
            await self._take(incarnation=incarnation, orderly=orderly)

    async def _take(self, *, incarnation: int, orderly: bool) -> None:
        seen = self.state.leader
        event = LeaseTaken(
            run_kind=self.state.run_kind,
            run_id=self.state.run_id,
            instance=self._instance,
            incarnation=incarnation,
            orderly=orderly,
        )
        while self.state.ending is None and self.state.leader == seen:
            if await self._stored(event, self._ids.new()):
                self._epoch = self.state.epoch
                return
        self._epoch = None
        raise LeadershipLostError(f"run {self.state.run_id} was taken by {self.state.leader} first")

    async def rise_above(self, known: Epoch, refused: Epoch) -> None:
        """Take the lease again, above what a worker knows, after it refused an order of epoch `refused`.

        Raises:
            LeadershipLostError: Another instance leads: the worker was right.
        """
        async with self._lock:
            await self._read()
            self._check_leadership()
            if self.epoch > refused and self.epoch > known:
                return
            above = known.incarnation > refused.incarnation or self.state.last <= known.counter
            incarnation = known.incarnation + 1 if above else refused.incarnation
            _log.warning("a worker knows a higher epoch", run=self.state.run_id, known=str(known), had=str(refused))
            await self._take(incarnation=incarnation, orderly=True)

    async def append(self, make: Callable[[], RunEvent | None]) -> bool:
        """Append what `make` returns, as long as it returns something.

        `make` is called again, on the newer state, whenever somebody else wrote first.

        Returns:
            False when `make` returned None.

        Raises:
            LeadershipLostError: Another instance leads the run.
        """
        async with self._lock:
            while True:
                self._check_leadership()
                event = make()
                if event is None:
                    return False
                if await self._stored(event, self._ids.new()):
                    return True

    async def intervene(self, make: Callable[[], OperatorIntervened], event_id: str) -> None:
        """Append a person's order unless `event_id` is in the journal already; needs no leadership.

        `state` is the fold of the journal up to where the caller looked for `event_id`.
        """
        async with self._lock:
            while not await self._stored(make(), event_id):
                if event_id in self._read_ids:
                    return

    async def catch_up(self) -> None:
        """Read what others wrote.

        Raises:
            LeadershipLostError: Another instance leads the run.
            TransientError: The journal cannot be read now.
        """
        async with self._lock:
            await self._read()
            self._check_leadership()

    def _check_leadership(self) -> None:
        leader = self.state.leader
        if self.state.ending is None and (self._epoch is None or leader is None or leader.epoch != self._epoch):
            self._epoch = None
            raise LeadershipLostError(f"run {self.state.run_id} is led by {leader} now, not by {self._instance}")

    async def _stored(self, event: RunEvent, event_id: str) -> bool:
        """Append until it is known whether it is stored: what is ambiguous is sent again under the same id.

        Returns:
            False when somebody else wrote first; what they wrote has been read.
        """
        pause = _FIRST_PAUSE_S
        while True:
            try:
                recorded = await self._journal.append(event, after=self.state.last, event_id=event_id)
            except ConflictError:
                await self._read()
                return False
            except TransientError as error:
                _log.warning("journal not available", run=self.state.run_id, error=error.message)
                await self._clock.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_S)
                continue
            if recorded.sequence > self.state.last:
                self._apply(recorded, quietly=isinstance(event, StepStarted))
            faults.point("runs.appended")
            return True

    async def _read(self) -> None:
        pause = _FIRST_PAUSE_S
        while True:
            try:
                entries = await self._journal.load(self.state.run_kind, self.state.run_id, after=self.state.last)
            except TransientError:
                await self._clock.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_S)
                continue
            break
        self._read_ids = {entry.id for entry in entries}
        for entry in entries:
            self._apply(entry)

    def _apply(self, entry: Recorded, *, quietly: bool = False) -> None:
        try:
            apply(self.state, entry)
        except JournalDamagedError:
            self._epoch = None
            raise
        if not quietly:
            self.changed.set()
