"""What becomes of each failure: a run at once, a run later, people, or nothing."""

from __future__ import annotations

import asyncio
from datetime import datetime  # noqa: TC003 - msgspec reads the annotation at run time
from typing import TYPE_CHECKING

import msgspec
from yaoki.errors import RejectedError
from yaoki.events.runs import Intervention
from yaoki.runs.errors import ResourceBusyError
from yaoki.runs.steering import Steering
from yaoki.telemetry import get_logger

from recovery import metrics
from recovery.auditing import TakeUpAgain, audit
from recovery.escalation import escalate_without_chain, escalation_id, next_steps
from recovery.guard_book import PEOPLE, OpenFailure
from recovery.guards import Wait
from recovery.intake import CallPeople, Ignored, decide, run_id_of
from recovery.waiting_failures import WaitingFailure

if TYPE_CHECKING:
    from yaoki.clock import Clock
    from yaoki.commands.recovery import RunView
    from yaoki.config.model import Config
    from yaoki.events.probe import FailureCleared, FailureDetected
    from yaoki.messaging.ports import EventPublisher
    from yaoki.runs import RunExecutor
    from yaoki.subjects import Subjects

    from recovery.clearances import ClearanceStore
    from recovery.guarding import Guards
    from recovery.waiting_failures import WaitingFailures

_log = get_logger(__name__)
_WAITING = "waiting"


class _Obstacle(msgspec.Struct, frozen=True, kw_only=True):
    """Why a run cannot begin: another one, or a guard."""

    behind: str = ""
    reason: str = ""
    until: datetime | None = None


class Incidents:
    """Failures from their detection to the start of their run.

    Every method may be called again, by any instance and at the same time: a run's identity follows from its incident,
    so that starting it twice starts it once.
    """

    def __init__(
        self,
        config: Config,
        *,
        executor: RunExecutor,
        clearances: ClearanceStore,
        waiting: WaitingFailures,
        guards: Guards,
        publisher: EventPublisher,
        subjects: Subjects,
        clock: Clock,
    ) -> None:
        self._config = config
        self._executor = executor
        self._clearances = clearances
        self._waiting = waiting
        self._guards = guards
        self._publisher = publisher
        self._subjects = subjects
        self._clock = clock
        self._telling = asyncio.Lock()

    async def take_up(self, failure: FailureDetected, sequence: int) -> None:
        """Deal with a failure that was just delivered; when this returns it is durably dealt with, or waits."""
        decided, obstacle = await self._begin(failure, sequence)
        metrics.FAILURES.labels(failure.failure_type.value, decided).inc()
        if obstacle is not None:
            await self._wait(failure, sequence, obstacle)

    async def close(self, cleared: FailureCleared, sequence: int) -> None:
        """What was detected before this place in the stream is over."""
        await self._guards.book.close(cleared.target, cleared.failure_type, sequence)

    async def note_flapping(self, target: str, *, flapping: bool) -> None:
        """Nothing is done for a target that goes up and down."""
        await self._guards.book.set_flapping(target, flapping=flapping)

    async def look(self) -> None:
        """Start what no longer has to wait, and end runs that wait for something that is no longer needed."""
        await self._guards.refresh()
        waiting = await self._waiting.all()
        for one in waiting:
            if self._still_held(one):
                continue
            _, obstacle = await self._begin(one.failure, one.sequence)
            if obstacle is None:
                await self._waiting.remove(one)
            elif (obstacle.behind, obstacle.reason) != (one.behind, one.reason):
                await self._wait(one.failure, one.sequence, obstacle, since=one.since)
        metrics.WAITING.set(len(waiting))
        held = [run for run in await self._executor.unfinished() if run.status == _WAITING and run.incident_id]
        if held:
            over = await self._clearances.incidents()
            for run in held:
                if run.incident_id in over:
                    await self._end(run)

    async def audit(self) -> None:
        """Find open failures without a next step, and give them one."""
        waiting = {one.run_id for one in await self._waiting.all()}
        for one in self._guards.open:
            run_id = run_id_of(one.failure.incident_id, one.failure.failure_type)
            found = audit(
                one,
                run=await self._executor.view(run_id),
                waiting=run_id in waiting,
                soak_s=self._config.recovery.guards.soak,
                now=self._clock.now(),
            )
            if found is None:
                continue
            metrics.AUDITED.labels(type(found).__name__).inc()
            _log.error("open failure without a next step", target=one.failure.target, run=run_id, found=repr(found))
            if isinstance(found, TakeUpAgain):
                await self.take_up(one.failure, one.sequence)
            else:
                await self._call_people(one.failure, CallPeople(f"{run_id}-audit", found.reason))
                await self._guards.book.tell(one, PEOPLE)

    async def waiting(self) -> list[WaitingFailure]:
        """Failures whose run could not begin yet."""
        return await self._waiting.all()

    async def _begin(self, failure: FailureDetected, sequence: int) -> tuple[str, _Obstacle | None]:
        """Do what is decided; its name, and what stands in the way."""
        cleared, after = await asyncio.gather(
            self._clearances.newest(failure.target, failure.failure_type), self._guards.relapse_of(failure)
        )
        decision = decide(self._config, failure, sequence=sequence, cleared=cleared, after=after)
        decided = type(decision).__name__
        if isinstance(decision, Ignored):
            _log.info("failure ignored", target=failure.target, reason=decision.reason)
            return decided, None
        opened = OpenFailure(failure=failure, sequence=sequence, since=self._clock.now())
        opened = await self._guards.opened(opened)
        if isinstance(decision, CallPeople):
            await self._call_people(failure, decision)
            await self._guards.book.tell(opened, PEOPLE)
            return decided, None
        verdict = await self._guards.admit(failure)
        if isinstance(verdict, Wait):
            await self._tell(opened, decision.run_id, verdict)
            return type(verdict).__name__, _Obstacle(reason=verdict.reason, until=verdict.until)
        try:
            run_id = await self._executor.start(decision)
        except ResourceBusyError as busy:
            return decided, _Obstacle(behind=busy.run_id)
        _log.info("recovery run started", target=failure.target, run=run_id, after=after)
        return decided, None

    def _still_held(self, one: WaitingFailure) -> bool:
        """A guard that holds everything holds it still, and nothing new is to be said or done."""
        held = self._guards.holds(one.failure.target)
        still_open = any(failure.failure.incident_id == one.failure.incident_id for failure in self._guards.open)
        return held is not None and still_open and bool(one.reason) and not one.behind

    async def _wait(
        self, failure: FailureDetected, sequence: int, obstacle: _Obstacle, *, since: datetime | None = None
    ) -> None:
        waiting = WaitingFailure(
            run_id=run_id_of(failure.incident_id, failure.failure_type),
            failure=failure,
            sequence=sequence,
            since=since or self._clock.now(),
            behind=obstacle.behind,
            reason=obstacle.reason,
            until=obstacle.until,
        )
        await self._waiting.add(waiting)
        _log.info("failure waits", target=failure.target, behind=obstacle.behind, reason=obstacle.reason)

    async def _tell(self, opened: OpenFailure, run_id: str, wait: Wait) -> None:
        """Call people about a guard that keeps a failure, once; about the brake once for all failures."""
        if not wait.calls_people or {wait.guard, PEOPLE} & set(opened.told):
            return
        if wait.guard == "brake":
            async with self._telling:  # failures arrive side by side, and the first of them speaks for all
                await self._tell_of_brake(opened, run_id, wait)
            return
        await self._call_people(opened.failure, CallPeople(f"{run_id}-{wait.guard}", wait.reason))
        await self._guards.book.tell(opened, wait.guard)

    async def _tell_of_brake(self, opened: OpenFailure, run_id: str, wait: Wait) -> None:
        if not self._guards.brake_is_on():
            await self._guards.refresh()  # it was needed this moment, and is not written down yet
        brake = self._guards.snapshot.brake
        if brake is not None and brake.told:
            return
        await self._call_people(opened.failure, CallPeople(f"{run_id}-{wait.guard}", wait.reason))
        await self._guards.book.tell(opened, wait.guard)
        if brake is not None:
            await self._guards.book.set_brake(msgspec.structs.replace(brake, told=True))
            await self._guards.refresh()

    async def _end(self, run: RunView) -> None:
        """Of a run that waits for the end of maintenance while what it was to repair is well again."""
        steering = Steering(
            intervention=Intervention.ABORT,
            by="recovery",
            comment="the failure was cleared while the run waited",
            order_id="cleared",
        )
        try:
            await self._executor.steer(run.run_id, steering)
        except RejectedError as error:
            _log.info("run went on meanwhile", run=run.run_id, error=error.message)

    async def _call_people(self, failure: FailureDetected, decision: CallPeople) -> None:
        event = escalate_without_chain(
            failure,
            reason=decision.reason,
            next_steps=next_steps(self._config, self._subjects, failure),
            at=self._clock.now(),
        )
        await self._publisher.publish(event, event_id=escalation_id(decision.run_id), correlation=failure.incident_id)
        metrics.ESCALATIONS.labels(failure.failure_type.value).inc()
        _log.warning("failure escalated at once", target=failure.target, reason=decision.reason)
