"""Restart the application's worker processes, one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recovery.actions.kind import NotApplicable
from recovery.hand_steps import restart_branch

if TYPE_CHECKING:
    from yaoki.plans import Branch

    from recovery.actions.kind import ActionRequest


class RestartWorkers:
    """Those of `recovery.applications.<application>.workers`; its instances when there are none."""

    name = "restart-workers"
    impairs_users = False
    disruptive = True

    def branches(self, request: ActionRequest) -> tuple[Branch, ...] | NotApplicable:
        """See `ActionKind.branches`."""
        if not request.application:
            return NotApplicable("it needs a target of an application under recovery.applications")
        application = request.config.recovery.applications[request.application]
        workers = application.workers or application.instances
        if not workers:
            return NotApplicable(f"recovery.applications.{request.application} names neither workers nor instances")
        return (restart_branch(self.name, workers, request),)
