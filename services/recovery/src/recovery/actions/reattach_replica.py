"""Have a lagging PostgreSQL standby follow the primary anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaoki.config.targets import PostgresRole, PostgresTarget
from yaoki.plans import Branch, Call, Step, StepKind

from recovery.actions.kind import NotApplicable
from recovery.failover import agent_worker, local

if TYPE_CHECKING:
    from recovery.actions.kind import ActionRequest


class ReattachReplica:
    """Its agent points it at the holder of the lease, rewinds or clones it where it must; it waits for streaming."""

    name = "reattach-replica"
    impairs_users = False
    disruptive = False

    def branches(self, request: ActionRequest) -> tuple[Branch, ...] | NotApplicable:
        """See `ActionKind.branches`."""
        settings = request.settings
        if not isinstance(settings, PostgresTarget) or settings.role is not PostgresRole.REPLICA:
            return NotApplicable("it needs a target with role replica")
        cluster = request.config.postgres_clusters.get(settings.cluster or "")
        member = cluster.members.get(settings.member or "") if cluster else None
        if member is None:
            return NotApplicable("it needs a member of a cluster under postgres_clusters")
        find = Step(id="find-primary", do=local("find-primary", cluster=settings.cluster), attempts=3, timeout_s=5.0)
        follow = Step(
            id="reattach-replica",
            do=Call(
                worker=agent_worker(member.agent),
                action="postgres.follow",
                params={"primary": "${find-primary.member}"},
            ),
            kind=StepKind.FORWARD,
            timeout_s=request.link.timeout or 60.0,
            attempts=request.link.attempts,
        )
        return (Branch(name=self.name, steps=(find, follow), verify=request.check(), verify_timeout_s=60.0),)
