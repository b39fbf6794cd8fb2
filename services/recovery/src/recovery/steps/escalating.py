"""The last step of a chain that ran out: call a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from yaoki.errors import TransientError
from yaoki.events.probe import FailureDetected
from yaoki.events.recovery import AttentionRequested
from yaoki.flags import maintenance_key
from yaoki.runs.actions import ActionResult
from yaoki.runs.errors import PreconditionFailedError

from recovery.escalation import escalate_run, escalation_id, next_steps

if TYPE_CHECKING:
    from yaoki.clock import Clock
    from yaoki.config.model import Config
    from yaoki.messaging.ports import EventPublisher
    from yaoki.plans import Order
    from yaoki.runs.actions import Handler
    from yaoki.subjects import Subjects

    from recovery.ports import Flags, RunViews


class EscalationSteps:
    """Publish `EscalatedToHuman` once for each run, with everything that was tried."""

    def __init__(
        self,
        config: Config,
        *,
        subjects: Subjects,
        flags: Flags,
        runs: RunViews,
        publisher: EventPublisher,
        clock: Clock,
    ) -> None:
        self._config = config
        self._subjects = subjects
        self._flags = flags
        self._runs = runs
        self._publisher = publisher
        self._clock = clock

    def handlers(self) -> dict[str, Handler]:
        """By action name."""
        return {"escalate": self.escalate, "notify": self.notify, "not-applicable": self.not_applicable}

    async def escalate(self, order: Order) -> ActionResult:
        """See the class. A repeat publishes under the same id and is stored once."""
        failure = msgspec.convert(order.params["failure"], FailureDetected)
        run = await self._runs.view(order.run_id)
        if run is None:
            raise TransientError(f"the journal of run {order.run_id!r} cannot be read yet")
        switch = await self._flags.switch(maintenance_key())
        event = escalate_run(
            failure,
            run,
            maintenance=bool(switch and switch.on),
            next_steps=next_steps(self._config, self._subjects, failure, order.run_id),
            at=self._clock.now(),
        )
        await self._publisher.publish(event, event_id=escalation_id(order.run_id), correlation=failure.incident_id)
        return ActionResult(result={"escalated": True})

    async def notify(self, order: Order) -> ActionResult:
        """Publish `AttentionRequested` once for each run: nothing here can repair it, and people should know."""
        failure = msgspec.convert(order.params["failure"], FailureDetected)
        event = AttentionRequested(
            target=failure.target,
            failure_type=failure.failure_type,
            incident_id=failure.incident_id,
            severity=str(order.params["severity"]),
            run_id=order.run_id,
            failure=failure,
            message=str(order.params["message"]),
            next_steps=next_steps(self._config, self._subjects, failure, order.run_id),
            requested_at=self._clock.now(),
        )
        await self._publisher.publish(event, event_id=f"attention.{order.run_id}", correlation=failure.incident_id)
        return ActionResult(result={"told": True})

    async def not_applicable(self, order: Order) -> ActionResult:
        """Say in the journal why an action of the chain cannot do anything for this target."""
        raise PreconditionFailedError(str(order.params["reason"]))
