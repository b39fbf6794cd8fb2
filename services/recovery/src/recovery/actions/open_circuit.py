"""Tell callers of an external service not to call it until it is well again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaoki.plans import Branch, Step

from recovery.failover import local

if TYPE_CHECKING:
    from recovery.actions.kind import ActionRequest, NotApplicable


class OpenCircuit:
    """The flag `circuit.<target>`, which is turned off when the failure clears. It repairs nothing."""

    name = "open-circuit"
    impairs_users = True
    disruptive = False

    def branches(self, request: ActionRequest) -> tuple[Branch, ...] | NotApplicable:
        """See `ActionKind.branches`."""
        step = Step(
            id="open-circuit",
            do=local("open-circuit", target=request.target),
            attempts=5,
            timeout_s=10.0,
        )
        return (Branch(name=self.name, steps=(step,), verify=request.check(), verify_timeout_s=2.0),)
