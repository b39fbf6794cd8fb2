"""What recovery does about each message: typed message in, one use case called, nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec
from yaoki.commands.recovery import (
    ListRuns,
    OrderAccepted,
    RunChain,
    RunList,
    RunView,
    ShowRun,
    SteerRun,
    WaitingView,
)
from yaoki.errors import ErrorCode, RejectedError, TransientError
from yaoki.events.probe import (
    FailureCleared,
    FailureDetected,
    FlappingStopped,
    TargetFlapping,
)
from yaoki.runs import Steering
from yaoki.runs.errors import ResourceBusyError
from yaoki.telemetry import get_logger

from recovery import metrics
from recovery.clearances import Clearance
from recovery.intake import as_token, order_run, run_id_of
from recovery.lifting import lift_all

if TYPE_CHECKING:
    from yaoki.clock import Clock, IdSource
    from yaoki.commands.base import Request
    from yaoki.config.model import Config
    from yaoki.events.probe import ProbeEvent
    from yaoki.messaging.ports import Envelope, KeyValue, Published
    from yaoki.runs import RunExecutor, RunState
    from yaoki.subjects import Subjects

    from recovery.clearances import ClearanceStore
    from recovery.incidents import Incidents
    from recovery.ports import Flags

_log = get_logger(__name__)


class OrderStore(Protocol):
    """Keeps durable orders until they are carried out."""

    async def order(self, request: Request, *, message_id: str) -> Published:
        """Store an order once for each id."""
        ...


class FailureHandlers:
    """Failures and clears from the event stream. Every method may be called again with the same event."""

    def __init__(
        self, incidents: Incidents, *, clearances: ClearanceStore, flags: Flags, flags_bucket: KeyValue
    ) -> None:
        self._incidents = incidents
        self._clearances = clearances
        self._flags = flags
        self._flags_bucket = flags_bucket

    async def on_failure_event(self, event: ProbeEvent, envelope: Envelope) -> None:
        """Dispatch by type: both come from one consumer, so that their order is kept."""
        if isinstance(event, FailureDetected):
            await self.on_failure_detected(event, envelope)
        elif isinstance(event, FailureCleared):
            await self.on_failure_cleared(event, envelope)
        elif isinstance(event, TargetFlapping | FlappingStopped):
            await self._incidents.note_flapping(event.target, flapping=isinstance(event, TargetFlapping))

    async def on_failure_detected(self, failure: FailureDetected, envelope: Envelope) -> None:
        """Start the run of the incident, now or when another run has ended, call people, or do nothing."""
        await self._incidents.take_up(failure, envelope.sequence)

    async def on_failure_cleared(self, cleared: FailureCleared, envelope: Envelope) -> None:
        """Remember it, and turn off what the incident's run turned on. The run itself sees by its own probes."""
        clearance = Clearance(incident_id=cleared.incident_id, sequence=envelope.sequence)
        await self._clearances.note(cleared.target, cleared.failure_type, clearance)
        await self._incidents.close(cleared, envelope.sequence)
        lifted = await lift_all(
            self._flags_bucket,
            self._flags,
            by=run_id_of(cleared.incident_id, cleared.failure_type),
            reason=f"{cleared.target} is well again",
        )
        _log.info("failure cleared", target=cleared.target, lifted=lifted)


class OrderHandlers:
    """What people ask and order: `api.recovery.*` and `cmd.recovery.*`."""

    def __init__(
        self,
        config: Config,
        *,
        executor: RunExecutor,
        incidents: Incidents,
        orders: OrderStore,
        subjects: Subjects,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._config = config
        self._executor = executor
        self._incidents = incidents
        self._orders = orders
        self._subjects = subjects
        self._clock = clock
        self._ids = ids

    async def run(self, request: RunChain) -> OrderAccepted:
        """Check an order, store it, and say how to watch it. Nothing is done yet when this answers."""
        order_id = as_token(request.order_id or self._ids.new())
        run_id = as_token(f"order-{order_id}")
        start = order_run(self._config, request, run_id=run_id, at=self._clock.now())
        busy = [view for view in await self._executor.unfinished() if view.resource == start.resource]
        if busy and busy[0].run_id != run_id:
            raise RejectedError(
                f"run {busy[0].run_id} is working on {start.resource!r}; wait for its end or abort it with "
                f"nats req {self._subjects.api('recovery', 'steer')} "
                f'\'{{"run_id":"{busy[0].run_id}","intervention":"abort","by":"<you>"}}\'',
                code=ErrorCode.CONFLICT,
            )
        await self._orders.order(msgspec.structs.replace(request, order_id=order_id), message_id=order_id)
        return self._accepted(order_id, run_id)

    async def on_run_ordered(self, order: RunChain, envelope: Envelope) -> None:
        """Carry a stored order out.

        Raises:
            TransientError: Another run works on the same servers. The order is delivered again after a growing pause,
                and put aside with this reason when that run has not ended after about a quarter of an hour: nobody
                expects it any more then.
        """
        order_id = as_token(order.order_id or envelope.id.lower())
        run_id = as_token(f"order-{order_id}")
        try:
            await self._executor.start(order_run(self._config, order, run_id=run_id, at=envelope.time))
        except ResourceBusyError as busy:
            waits = f"the order of {order.by} for {order.target!r} waits for the end of run {busy.run_id}"
            raise TransientError(waits, code=ErrorCode.CONFLICT) from busy

    async def list(self, _request: ListRuns) -> RunList:
        """All unfinished runs, and the failures that wait for their end."""
        waiting = [
            WaitingView(
                target=one.failure.target,
                failure_type=one.failure.failure_type,
                incident_id=one.failure.incident_id,
                run_id=one.run_id,
                behind=one.behind,
                since=one.since,
                reason=one.reason,
                until=one.until,
            )
            for one in await self._incidents.waiting()
        ]
        return RunList(runs=tuple(await self._executor.unfinished()), waiting=tuple(waiting))

    async def show(self, request: ShowRun) -> RunView:
        """One run, finished or not."""
        return await self._expect(request.run_id)

    async def steer(self, request: SteerRun) -> OrderAccepted:
        """Steer a run at once; the answer comes when it stands in the run's journal."""
        order_id = as_token(request.order_id or self._ids.new())
        await self._steer(request, order_id)
        return self._accepted(order_id, request.run_id)

    async def on_steer_ordered(self, order: SteerRun, envelope: Envelope) -> None:
        """Carry a stored order out."""
        await self._steer(order, as_token(order.order_id or envelope.id.lower()))

    async def _steer(self, order: SteerRun, order_id: str) -> None:
        await self._expect(order.run_id)
        steering = Steering(
            intervention=order.intervention,
            by=order.by,
            step=order.step,
            comment=order.comment,
            result=order.result,
            order_id=order_id,
        )
        await self._executor.steer(order.run_id, steering)

    async def _expect(self, run_id: str) -> RunView:
        view = await self._executor.view(run_id)
        if view is None:
            known = ", ".join(one.run_id for one in await self._executor.unfinished())
            raise RejectedError(
                f"there is no run {run_id!r}; unfinished runs are: {known or 'none'}", code=ErrorCode.NOT_FOUND
            )
        return view

    def _accepted(self, order_id: str, run_id: str) -> OrderAccepted:
        watch = f"nats sub '{self._subjects.run('recovery', run_id)}'"
        return OrderAccepted(order_id=order_id, run_id=run_id, watch=watch)


async def on_run_finished(run: RunState) -> None:
    """Count a finished run."""
    ending = run.ending.value if run.ending else "unknown"
    metrics.RUNS.labels(run.plan.name, ending).inc()
    metrics.RUN_SECONDS.labels(run.plan.name).observe(run.duration_s)
    _log.info("recovery run ended", run=run.run_id, ending=ending, reason=run.reason)
