"""Move the master of a Redis group to a replica."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recovery.actions.kind import NotApplicable
from recovery.redis_failover import redis_failover_branch
from recovery.sentinel_failover import sentinel_failover_branch

if TYPE_CHECKING:
    from yaoki.plans import Branch

    from recovery.actions.kind import ActionRequest


class SwitchRedis:
    """The failover of `recovery.redis_failover`; where Sentinel decides, the one that it is asked for."""

    name = "switch-redis"
    impairs_users = False
    disruptive = True

    def branches(self, request: ActionRequest) -> tuple[Branch, ...] | NotApplicable:
        """See `ActionKind.branches`."""
        if not request.group:
            return NotApplicable("it needs a target of a group under redis_groups")
        settings = request.config.redis_groups[request.group]
        if settings.sentinel is not None:
            return (sentinel_failover_branch(request.group, request.link, verify=request.check()),)
        if not any(member.promotable for member in list(settings.members.values())[1:]):
            return NotApplicable(f"group {request.group!r} has no second member that may become the master")
        return (redis_failover_branch(request.group, settings, verify=request.check()),)
