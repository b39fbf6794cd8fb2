"""End the client connections of a Redis master, so that applications connect afresh."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaoki.plans import Branch, Step

from recovery.actions.kind import NotApplicable
from recovery.failover import local

if TYPE_CHECKING:
    from recovery.actions.kind import ActionRequest


class RestartRedisConnections:
    """`CLIENT KILL TYPE normal` on the current master: replicas and subscribers stay."""

    name = "restart-redis-connections"
    impairs_users = False
    disruptive = True

    def branches(self, request: ActionRequest) -> tuple[Branch, ...] | NotApplicable:
        """See `ActionKind.branches`."""
        if not request.group:
            return NotApplicable("it needs a target of a group under redis_groups")
        step = Step(
            id="kill-redis-clients",
            do=local("kill-redis-clients", group=request.group),
            timeout_s=request.link.timeout or 5.0,
            attempts=request.link.attempts,
        )
        return (Branch(name=self.name, steps=(step,), verify=request.check(), verify_timeout_s=5.0),)
