"""Give the application more instances, within its limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaoki.plans import Branch, Call

from recovery.actions.kind import NotApplicable
from recovery.hand_steps import HANDS, hand_steps

if TYPE_CHECKING:
    from recovery.actions.kind import ActionRequest


class ScaleOut:
    """As many as `recovery.scaling` decides: at least one more, at most `most`, not within the cooldown."""

    name = "scale-out"
    impairs_users = False
    disruptive = False

    def branches(self, request: ActionRequest) -> tuple[Branch, ...] | NotApplicable:
        """See `ActionKind.branches`."""
        application = request.config.recovery.applications.get(request.application)
        if application is None or application.scaling is None:
            return NotApplicable("it needs a target of an application with scaling under recovery.applications")
        call = Call(
            worker=HANDS,
            action="kubernetes.scale",
            params={"application": request.application, "direction": "out"},
        )
        steps = hand_steps(self.name, call, request, timeout_s=180.0)
        return (Branch(name=self.name, steps=steps, verify=request.check(), verify_timeout_s=60.0),)
