"""Durable runs of one kind: start, steer, look at, wait for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from yaoki.errors import ErrorCode, FatalError, RejectedError
from yaoki.runs.adoption import RunAdoption
from yaoki.runs.claiming import RunClaims, begun
from yaoki.runs.fold import fold
from yaoki.runs.gate import open_gate
from yaoki.runs.journalist import Journalist
from yaoki.runs.reading import read_run
from yaoki.runs.settings import ExecutorSettings
from yaoki.runs.steering import Steering, check_steering
from yaoki.runs.views import view

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from yaoki.clock import Clock, IdSource
    from yaoki.commands.recovery import RunView
    from yaoki.events.runs import OperatorIntervened
    from yaoki.runs.gate import Gate
    from yaoki.runs.leases import RunLeases
    from yaoki.runs.ports import Journal
    from yaoki.runs.registry import Claim, RunRegistry
    from yaoki.runs.starting import StartRun
    from yaoki.runs.state import RunState
    from yaoki.runs.workers import Workers

_log = structlog.get_logger("yaoki.runs")


class RunExecutor:
    """All runs of one kind, together with the executors of other instances.

    Args:
        run_kind: `recovery`, `backup` or `dr`.
        instance: Name of this process.
        journal: Where runs are written.
        workers: Who carries out orders.
        registry: Who holds which resource.
        leases: Who may try to lead.
        clock: For deadlines and waits.
        ids: For entries.
        settings: See there.
        gate: Whether disruptive branches may begin; they always may when left out.
    """

    def __init__(
        self,
        *,
        run_kind: str,
        instance: str,
        journal: Journal,
        workers: Workers,
        registry: RunRegistry,
        leases: RunLeases,
        clock: Clock,
        ids: IdSource,
        settings: ExecutorSettings | None = None,
        gate: Gate = open_gate,
    ) -> None:
        self._run_kind = run_kind
        self._instance = instance
        self._journal = journal
        self._registry = registry
        self._clock = clock
        self._ids = ids
        self._settings = settings or ExecutorSettings()
        self._claims = RunClaims(journal, registry, clock, ids)
        self._adoption = RunAdoption(
            run_kind=run_kind,
            instance=instance,
            journal=journal,
            workers=workers,
            registry=registry,
            leases=leases,
            claims=self._claims,
            clock=clock,
            ids=ids,
            settings=self._settings,
            gate=gate,
        )

    def on_finished(self, callback: Callable[[RunState], Awaitable[None]]) -> None:
        """Have `callback` called, at least once, by the instance that ended a run or first saw its end."""
        self._claims.on_finished(callback)

    async def start(self, start: StartRun) -> str:
        """Start a run and begin to drive it; a run with this id that exists already is left as it is.

        Returns:
            Its id.

        Raises:
            RejectedError: The plan cannot be run.
            ResourceBusyError: Another unfinished run holds the resource.
            TransientError: NATS is away; a repeat finishes what was begun.
        """
        started = start.entry()
        if started.run_kind != self._run_kind:
            raise RejectedError(f"this executor drives {self._run_kind} runs, not {started.run_kind}")
        if await self._journal.load(self._run_kind, started.run_id):
            return started.run_id
        claim = await self._claims.claim(started)
        await self._claims.write_start(claim)
        self._adoption.adopt(claim)
        return started.run_id

    async def supervise(self) -> None:
        """Adopt runs that nobody drives, for ever, whatever is away."""
        await self._adoption.supervise()

    async def steer(self, run_id: str, steering: Steering) -> None:
        """Carry a person's order out: it stands in the journal when this returns, once for each `order_id`.

        Raises:
            RejectedError: There is no such run, or the order makes no sense as the run stands; says what does.
        """
        entries = await self._journal.load(self._run_kind, run_id)
        event_id = f"{run_id}.steer.{steering.order_id or self._ids.new()}"
        if any(entry.id == event_id for entry in entries):
            return
        state = fold(entries)
        if state is None:
            raise RejectedError(f"there is no run {run_id!r}", code=ErrorCode.NOT_FOUND)
        journalist = Journalist(state, self._journal, self._clock, self._ids, self._instance)

        def make() -> OperatorIntervened:
            check_steering(journalist.state, steering)
            return steering.event(journalist.state)

        await journalist.intervene(make, event_id)
        drive = self._adoption.drive_of(run_id)
        if drive is not None:
            await drive.catch_up()

    async def view(self, run_id: str) -> RunView | None:
        """A run as it stands, finished or not; None when there is none."""
        state = await read_run(self._journal, self._run_kind, run_id)
        return None if state is None else view(state)

    async def unfinished(self) -> list[RunView]:
        """Every unfinished run, whoever drives it."""
        claims = await self._registry.claims(self._run_kind)
        states = [await self._seen(claim) for claim in claims]
        return [view(state) for state in states if state is not None and state.ending is None]

    async def finished(self, run_id: str) -> RunState:
        """Wait for the end of a run, and here for its conclusion, and return it; combine with a timeout."""
        while True:
            task = self._adoption.task_of(run_id)
            if task is not None:
                await asyncio.wait({task})
            state = await read_run(self._journal, self._run_kind, run_id)
            if state is not None and state.ending is not None:
                return state
            await self._clock.sleep(self._settings.look_s)

    async def stop(self) -> None:
        """Begin nothing new, wait a little for what is under way, and hand every run over."""
        await self._adoption.stop()

    async def _seen(self, claim: Claim) -> RunState | None:
        """One run that cannot be read must not hide the others."""
        try:
            return await read_run(self._journal, self._run_kind, claim.run_id)
        except FatalError as error:
            _log.warning("run cannot be read", run=claim.run_id, error=error.message)
            return begun(claim, self._clock)
