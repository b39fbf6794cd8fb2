"""Drives one run: decides from the journal, has it done, decides again."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import structlog

from yaoki.errors import ConflictError, TransientError, YaokiError
from yaoki.runs.decide import decide
from yaoki.runs.decisions import CarryOn, Decision, Defer, Finish, Pause, StartOrder, WaitUntil
from yaoki.runs.ordering import Ordering
from yaoki.runs.recording import Recorder
from yaoki.tasks import end_tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from datetime import datetime

    from yaoki.clock import Clock
    from yaoki.runs.carrier import Patience
    from yaoki.runs.gate import Gate
    from yaoki.runs.journalist import Journalist
    from yaoki.runs.leases import HeldLease
    from yaoki.runs.state import RunState
    from yaoki.runs.workers import Workers

_log = structlog.get_logger("yaoki.runs")
_SHORTEST_WAIT_S = 0.001


class Drive:
    """One run in the hands of this instance.

    Args:
        journalist: Leads the run.
        workers: Who carries out orders.
        clock: For deadlines and waits.
        patience: See `Patience`.
        lease: Renewed as long as the run is driven.
        poll_s: How often the journal is read for what others wrote, seconds.
        gate: Whether disruptive branches may begin.
    """

    def __init__(
        self,
        journalist: Journalist,
        workers: Workers,
        clock: Clock,
        *,
        patience: Patience,
        lease: HeldLease,
        poll_s: float,
        gate: Gate,
    ) -> None:
        self._journalist = journalist
        self._recorder = Recorder(journalist, clock)
        self._ordering = Ordering(journalist, self._recorder, workers, clock, patience)
        self._clock = clock
        self._lease = lease
        self._poll_s = poll_s
        self._gate = gate
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._withdrawing: set[str] = set()
        self._draining = False
        self._failure: BaseException | None = None

    @property
    def state(self) -> RunState:
        """The run as far as this instance has read it."""
        return self._journalist.state

    async def catch_up(self) -> None:
        """Read what others wrote and decide again."""
        await self._journalist.catch_up()
        self._wake()

    def drain(self) -> None:
        """Begin nothing new; `run` returns when what is under way has its outcome."""
        self._draining = True
        self._wake()

    async def run(self) -> None:
        """Drive until the run is over, or drained.

        Raises:
            LeadershipLostError: Another instance leads the run.
        """
        heartbeat = asyncio.create_task(self._heartbeat())
        try:
            while self.state.ending is None and not (self._draining and not self._tasks):
                changed = self._journalist.changed
                changed.clear()
                wait = await self._act(self._decide(), self.state.last)
                if self._failure is not None:
                    raise self._failure
                if not changed.is_set():
                    await self._pause(wait)
        finally:
            await end_tasks([heartbeat, *self._tasks.values()])

    def _decide(self) -> tuple[Decision, ...]:
        now = self._clock.now()
        return decide(self.state, now, self._gate(self.state, now))

    def _wake(self) -> None:
        self._journalist.changed.set()

    async def _pause(self, until: datetime | None) -> None:
        if until is None:
            await self._journalist.changed.wait()
            return
        seconds = max((until - self._clock.now()).total_seconds(), _SHORTEST_WAIT_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._journalist.changed.wait()

    async def _act(self, decisions: tuple[Decision, ...], decided_at: int) -> datetime | None:
        """Begin what was decided at sequence `decided_at`; when to decide again if nothing happens before."""
        wait: datetime | None = None
        for decision in decisions:
            match decision:
                case StartOrder() if not self._draining:
                    self._begin(decision, decided_at)
                case CarryOn():
                    await self._carry_on(decision)
                case WaitUntil():
                    wait = decision.at if wait is None else min(wait, decision.at)
                case Pause():
                    await self._recorder.pause(decision)
                case Defer() if not self._draining:
                    await self._recorder.defer(decision, decided_at=decided_at)
                case Finish() if not self._draining:
                    await self._finish(decision, decided_at)
                case _:
                    pass
        return wait

    def _begin(self, decision: StartOrder, decided_at: int) -> None:
        command_id = f"{self.state.run_id}.{decision.branch}.{decision.step}.{decision.phase}.{decision.number}"
        wanted = self._wanted(decision, decided_at)
        self._spawn(command_id, lambda: self._ordering.begin(decision, command_id, wanted))

    def _wanted(self, decision: StartOrder, decided_at: int) -> Callable[[], bool]:
        """Somebody may have written since it was decided: a person may have paused the run."""
        identity = (decision.branch, decision.step, decision.phase, decision.number)

        def wanted() -> bool:
            if self._draining:
                return False
            return self.state.last == decided_at or any(
                (again.branch, again.step, again.phase, again.number) == identity
                for again in self._decide()
                if isinstance(again, StartOrder)
            )

        return wanted

    async def _carry_on(self, decision: CarryOn) -> None:
        command_id = decision.order.intent.command_id
        running = self._tasks.get(command_id)
        if running is not None:
            if not decision.withdraw or command_id in self._withdrawing:
                return
            await end_tasks([running])
        if decision.withdraw:
            self._withdrawing.add(command_id)
        if decision.order.open:
            self._spawn(command_id, lambda: self._ordering.resume(decision))

    def _spawn(self, command_id: str, work: Callable[[], Coroutine[None, None, None]]) -> None:
        if command_id in self._tasks:
            return
        task = asyncio.create_task(work(), name=f"order {command_id}")
        self._tasks[command_id] = task
        task.add_done_callback(lambda done: self._done(command_id, done))

    def _done(self, command_id: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(command_id) is task:
            del self._tasks[command_id]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = error
        # Otherwise the outcome that was just written has woken it.
        if self._failure is not None or self._draining:
            self._wake()

    async def _finish(self, decision: Finish, decided_at: int) -> None:
        """Nothing ends before the workers of orders that were given up have been asked once more."""
        if not await self._ordering.chase(limit_s=self._poll_s):
            await self._recorder.end(decision, decided_at=decided_at)

    async def _heartbeat(self) -> None:
        """Renew the lease, read what others wrote, ask for late replies."""
        while True:
            await self._clock.sleep(self._poll_s)
            try:
                await self._renew()
                await self._journalist.catch_up()
                await self._ordering.chase(limit_s=self._poll_s)
            except TransientError as error:
                _log.warning("heartbeat failed", run=self.state.run_id, error=error.message)
            except YaokiError as error:
                self._failure = error
                self._wake()
                return

    async def _renew(self) -> None:
        try:
            await self._lease.renew()
        except ConflictError:
            # The lease is only a hint; what counts is whether somebody took the lead in the journal.
            _log.info("another instance has the lease, the journal decides", run=self.state.run_id)
