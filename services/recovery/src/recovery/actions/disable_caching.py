"""Tell applications to go without the cache until the failure is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaoki.plans import Branch, Step

from recovery.actions.kind import NotApplicable
from recovery.failover import local

if TYPE_CHECKING:
    from recovery.actions.kind import ActionRequest


class DisableCaching:
    """Parameters: `group` (default: the target's). Like maintenance it repairs nothing: people are called next."""

    name = "disable-caching"
    impairs_users = True
    disruptive = False

    def branches(self, request: ActionRequest) -> tuple[Branch, ...] | NotApplicable:
        """See `ActionKind.branches`."""
        group = str(request.param("group", request.group))
        if not group:
            return NotApplicable("it needs a target of a group under redis_groups, or the parameter 'group'")
        step = Step(
            id="disable-caching",
            do=local("disable-caching", group=group, target=request.target),
            attempts=5,
            timeout_s=10.0,
        )
        return (Branch(name=self.name, steps=(step,), verify=request.check(), verify_timeout_s=2.0),)
