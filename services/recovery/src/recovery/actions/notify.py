"""Tell people about a failure that nobody here can repair; ends the chain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaoki.plans import Branch, Step, StepKind

from recovery.failover import local

if TYPE_CHECKING:
    from recovery.actions.kind import ActionRequest, NotApplicable


class Notify:
    """Parameters: `severity` (`warning` or `info`, default `warning`), `message`. Nothing comes after it."""

    name = "notify"
    impairs_users = False
    disruptive = False

    def branches(self, request: ActionRequest) -> tuple[Branch, ...] | NotApplicable:
        """See `ActionKind.branches`. Without a proof: what it promises is that people are told."""
        step = Step(
            id="notify",
            do=local(
                "notify",
                failure="${run.failure}",
                severity=str(request.param("severity", "warning")),
                message=str(request.param("message", "")),
            ),
            kind=StepKind.FORWARD,
            attempts=5,
            timeout_s=30.0,
        )
        return (Branch(name=self.name, steps=(step,)),)
