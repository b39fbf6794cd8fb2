"""Delete the application's cached keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaoki.plans import Branch, Step, StepKind

from recovery.actions.kind import NotApplicable
from recovery.failover import local

if TYPE_CHECKING:
    from recovery.actions.kind import ActionRequest


class FlushCache:
    """Only keys that `recovery.applications.<application>.cache` matches: a Redis may hold more than a cache."""

    name = "flush-cache"
    impairs_users = False
    disruptive = False

    def branches(self, request: ActionRequest) -> tuple[Branch, ...] | NotApplicable:
        """See `ActionKind.branches`."""
        application = request.config.recovery.applications.get(request.application)
        if application is None or application.cache is None:
            return NotApplicable("it needs a target of an application with a cache under recovery.applications")
        step = Step(
            id="delete-cached-keys",
            do=local("delete-cached-keys", group=application.cache.group, match=application.cache.match),
            kind=StepKind.FORWARD,
            timeout_s=request.link.timeout or 60.0,
            attempts=request.link.attempts,
        )
        return (Branch(name=self.name, steps=(step,), verify=request.check(), verify_timeout_s=10.0),)
