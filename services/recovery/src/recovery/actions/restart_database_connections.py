"""End stuck sessions of applications on the primary, so that they connect afresh."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaoki.plans import Branch, Step

from recovery.actions.kind import NotApplicable
from recovery.failover import local

if TYPE_CHECKING:
    from recovery.actions.kind import ActionRequest


class RestartDatabaseConnections:
    """Sessions count as stuck by three parameters.

    `idle_s`, `waiting_s`, `running_s`: how long one may be idle in a transaction, wait for a lock, or run one
    statement, seconds.
    """

    name = "restart-database-connections"
    impairs_users = False
    disruptive = True

    def branches(self, request: ActionRequest) -> tuple[Branch, ...] | NotApplicable:
        """See `ActionKind.branches`."""
        if not request.cluster:
            return NotApplicable("it needs the primary of a cluster under postgres_clusters")
        step = Step(
            id="terminate-stuck-sessions",
            do=local(
                "terminate-stuck-sessions",
                cluster=request.cluster,
                idle_s=float(request.param("idle_s", 5.0)),
                waiting_s=float(request.param("waiting_s", 10.0)),
                running_s=float(request.param("running_s", 60.0)),
            ),
            timeout_s=request.link.timeout or 5.0,
            attempts=request.link.attempts,
        )
        return (Branch(name=self.name, steps=(step,), verify=request.check(), verify_timeout_s=5.0),)
