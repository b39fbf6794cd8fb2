"""Drives the runs of this instance, and takes over those whose driver is gone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import uuid4

import structlog

from yaoki.errors import ConflictError, TransientError, YaokiError
from yaoki.runs.drive import Drive
from yaoki.runs.errors import JournalDamagedError, JournalFromFutureError, LeadershipLostError
from yaoki.runs.journalist import Journalist
from yaoki.tasks import end_tasks

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from yaoki.clock import Clock, IdSource
    from yaoki.runs.claiming import RunClaims
    from yaoki.runs.gate import Gate
    from yaoki.runs.leases import HeldLease, RunLeases
    from yaoki.runs.ports import Journal
    from yaoki.runs.registry import Claim, RunRegistry
    from yaoki.runs.settings import ExecutorSettings
    from yaoki.runs.state import RunState
    from yaoki.runs.workers import Workers

_log = structlog.get_logger("yaoki.runs")


class RunAdoption:
    """The drives of one instance.

    A run is driven while its lease is held, from the claim to the conclusion. Whatever goes wrong, its claim
    stays, its lease lapses, and the next look, here or elsewhere, tries again.
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
        claims: RunClaims,
        clock: Clock,
        ids: IdSource,
        settings: ExecutorSettings,
        gate: Gate,
    ) -> None:
        self._run_kind = run_kind
        self._instance = instance
        self._holder = f"{instance}#{uuid4().hex[:8]}"
        self._journal = journal
        self._workers = workers
        self._registry = registry
        self._leases = leases
        self._claims = claims
        self._clock = clock
        self._ids = ids
        self._settings = settings
        self._gate = gate
        self._drives: dict[str, Drive] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._held: dict[str, HeldLease] = {}
        self._foreign: set[str] = set()
        self._stopping = False

    def drive_of(self, run_id: str) -> Drive | None:
        """The drive of a run that this instance leads."""
        return self._drives.get(run_id)

    def task_of(self, run_id: str) -> asyncio.Task[None] | None:
        """The task that holds a run, from its adoption to its conclusion."""
        return self._tasks.get(run_id)

    async def supervise(self) -> None:
        """Adopt runs that nobody drives, for ever, whatever is away."""
        watch = asyncio.create_task(self._watch_handovers(), name="run handovers")
        try:
            while True:
                try:
                    await self._look()
                except YaokiError as error:
                    _log.warning("cannot look for runs", error=error.message)
                await self._clock.sleep(self._settings.look_s)
        finally:
            await end_tasks([watch])

    def adopt(self, claim: Claim) -> None:
        """Begin to drive a run, if its lease can be had."""
        if self._stopping or claim.run_id in self._tasks:
            return
        task = asyncio.create_task(self._drive(claim), name=f"run {claim.run_id}")
        self._tasks[claim.run_id] = task
        task.add_done_callback(lambda done: self._dropped(claim.run_id, done))

    async def stop(self) -> None:
        """Begin nothing new, wait a little for what is under way, and hand every run over."""
        self._stopping = True
        for drive in self._drives.values():
            drive.drain()
        tasks = list(self._tasks.values())
        if tasks:
            await asyncio.wait(tasks, timeout=self._settings.grace_s)
        await end_tasks(tasks)
        await self._workers.stop()
        # Only now: whoever takes over must not meet a handler that still runs here.
        for lease in list(self._held.values()):
            await _quietly(lease.release())

    async def _look(self) -> None:
        claims = await self._registry.claims(self._run_kind)
        self._foreign &= {claim.run_id for claim in claims}
        for claim in claims:
            if claim.run_id in self._tasks or claim.run_id in self._foreign:
                continue
            if await self._leases.vacant(self._run_kind, claim.run_id):
                self.adopt(claim)

    async def _watch_handovers(self) -> None:
        """A run that is handed over is adopted at once, not at the next look."""
        while True:
            try:
                async for _ in self._leases.handovers(self._run_kind):
                    await self._look()
            except YaokiError as error:
                _log.debug("handovers not watched", error=error.message)
            await self._clock.sleep(self._settings.look_s)

    def _dropped(self, run_id: str, task: asyncio.Task[None]) -> None:
        self._tasks.pop(run_id, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("driving a run failed", run=run_id, exc_info=error)

    async def _drive(self, claim: Claim) -> None:
        try:
            lease = await self._leases.take(self._run_kind, claim.run_id, self._holder)
            if lease is None:
                return
            self._held[claim.run_id] = lease
            await self._lead(claim, lease)
        except LeadershipLostError as error:
            _log.info("another instance leads", run=claim.run_id, detail=error.message)
        except JournalFromFutureError as error:
            self._foreign.add(claim.run_id)
            _log.warning("run of a newer version", run=claim.run_id, detail=error.message)
            await _quietly(self._held[claim.run_id].release())
        except TransientError as error:
            _log.warning("run left for later", run=claim.run_id, error=error.message)
        # Kept only when cancelled: `stop` hands it over.
        self._held.pop(claim.run_id, None)

    async def _lead(self, claim: Claim, lease: HeldLease) -> None:
        state = await self._claims.load_claimed(claim)
        if state.ending is None:
            try:
                state = await self._carry_on(state, lease)
            except JournalDamagedError:
                state = await self._claims.load_claimed(claim)
        if state.ending is None:
            await _quietly(lease.release())
            return
        await self._claims.conclude(state, claim)
        await _quietly(lease.drop())

    async def _carry_on(self, state: RunState, lease: HeldLease) -> RunState:
        """Become the leader and drive until the run is over or this process stops."""
        journalist = Journalist(state, self._journal, self._clock, self._ids, self._instance)
        incarnation = max(await self._journal.incarnation(), state.epoch.incarnation)
        await journalist.take_lead(incarnation=incarnation, orderly=lease.orderly)
        drive = Drive(
            journalist,
            self._workers,
            self._clock,
            patience=self._settings.patience,
            lease=lease,
            poll_s=self._settings.poll_s,
            gate=self._gate,
        )
        self._drives[state.run_id] = drive
        try:
            if self._stopping:
                drive.drain()
            await drive.run()
        finally:
            self._drives.pop(state.run_id, None)
        return journalist.state


async def _quietly(work: Awaitable[object]) -> None:
    """What the next look repeats if it does not succeed now."""
    try:
        await work
    except (ConflictError, TransientError) as error:
        _log.debug("left for the next look", error=error.message)
