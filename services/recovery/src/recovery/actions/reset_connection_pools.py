"""Have the application open its database connections anew, and its PgBouncer those to the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaoki.plans import Branch, Call, Step, StepKind

from recovery.actions.application_command import command_step
from recovery.actions.kind import NotApplicable
from recovery.hand_steps import HANDS

if TYPE_CHECKING:
    from recovery.actions.kind import ActionRequest


class ResetConnectionPools:
    """`RECONNECT` first where `recovery.applications.<application>.pooler` is there, then the pools of the SDK."""

    name = "reset-connection-pools"
    impairs_users = False
    disruptive = False

    def branches(self, request: ActionRequest) -> tuple[Branch, ...] | NotApplicable:
        """See `ActionKind.branches`."""
        if not request.application:
            return NotApplicable("it needs a target of an application under recovery.applications")
        pooler = request.config.recovery.applications[request.application].pooler
        reconnect = Step(
            id="reconnect-pooler",
            do=Call(worker=HANDS, action="pgbouncer.reconnect", params={"application": request.application}),
            kind=StepKind.FORWARD,
            timeout_s=15.0,
            attempts=request.link.attempts,
            required=False,
        )
        steps = (*((reconnect,) if pooler else ()), command_step(self.name, "reset-pools", request))
        return (Branch(name=self.name, steps=steps, verify=request.check(), verify_timeout_s=15.0),)
