"""What only the application itself can do: a command that its SDK carries out and acknowledges."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaoki.plans import Branch, Step

from recovery.actions.kind import NotApplicable
from recovery.failover import local

if TYPE_CHECKING:
    from recovery.actions.kind import ActionRequest

_CARRY_OUT_S = 30.0
_ANSWER_S = 5.0


class ApplicationCommandKind:
    """Base of actions that are one command to every instance of the target's application."""

    name: str
    disruptive: bool
    command: str
    impairs_users = False

    def branches(self, request: ActionRequest) -> tuple[Branch, ...] | NotApplicable:
        """See `ActionKind.branches`."""
        if not request.application:
            return NotApplicable("it needs a target of an application under recovery.applications")
        steps = (command_step(self.name, self.command, request),)
        return (Branch(name=self.name, steps=steps, verify=request.check(), verify_timeout_s=15.0),)


def command_step(step_id: str, command: str, request: ActionRequest, *, required: bool = True) -> Step:
    """One command to every instance; skipped at once when none is connected."""
    within_s = request.link.timeout or _CARRY_OUT_S
    return Step(
        id=step_id,
        do=local("application-command", application=request.application, command=command, within_s=within_s),
        timeout_s=within_s + _ANSWER_S,
        attempts=request.link.attempts,
        required=required,
    )
