"""Restart every instance of the application, one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recovery.actions.kind import NotApplicable
from recovery.hand_steps import restart_branch

if TYPE_CHECKING:
    from yaoki.plans import Branch

    from recovery.actions.kind import ActionRequest


class RestartApplication:
    """The instances of `recovery.applications.<application>.instances`. The link's `timeout` bounds each restart."""

    name = "restart-application"
    impairs_users = False
    disruptive = True

    def branches(self, request: ActionRequest) -> tuple[Branch, ...] | NotApplicable:
        """See `ActionKind.branches`."""
        if not request.application:
            return NotApplicable("it needs a target of an application under recovery.applications")
        instances = request.config.recovery.applications[request.application].instances
        if not instances:
            return NotApplicable(f"recovery.applications.{request.application}.instances names nothing to restart")
        return (restart_branch(self.name, instances, request),)
