"""Move the primary to a standby; where none can be promoted, route to the static backup database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recovery.actions.kind import NotApplicable
from recovery.failover import failover_branch, fallback_branch

if TYPE_CHECKING:
    from yaoki.plans import Branch

    from recovery.actions.kind import ActionRequest


class SwitchDatabase:
    """The fenced failover of `recovery.failover`. The link's `timeout` bounds the promotion."""

    name = "switch-database"
    impairs_users = False
    disruptive = True

    def branches(self, request: ActionRequest) -> tuple[Branch, ...] | NotApplicable:
        """See `ActionKind.branches`."""
        if not request.cluster:
            return NotApplicable("it needs the primary of a cluster under postgres_clusters")
        settings = request.config.postgres_clusters[request.cluster]
        branches: tuple[Branch, ...] = ()
        if len(settings.members) > 1:
            timeout_s = request.link.timeout or 60.0
            branches += (failover_branch(request.cluster, settings, verify=request.check(), timeout_s=timeout_s),)
        if settings.fallback_url:
            branches += (fallback_branch(request.cluster, settings, verify=request.check()),)
        return branches or NotApplicable(
            f"cluster {request.cluster!r} has neither a standby nor a fallback_url to switch to"
        )
