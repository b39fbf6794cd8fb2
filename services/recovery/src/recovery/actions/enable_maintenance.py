"""Tell applications to answer 503 with Retry-After until the failure is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaoki.config.targets import PostgresRole, PostgresTarget
from yaoki.plans import Branch, Step

from recovery.actions.kind import NotApplicable
from recovery.failover import local

if TYPE_CHECKING:
    from recovery.actions.kind import ActionRequest


class EnableMaintenance:
    """Parameters: `scope` (an application, default `all`), `reason`.

    It repairs nothing, so the fresh probe that follows usually fails and people are called; it spares users the
    errors until then.
    """

    name = "enable-maintenance"
    impairs_users = True
    disruptive = False

    def branches(self, request: ActionRequest) -> tuple[Branch, ...] | NotApplicable:
        """See `ActionKind.branches`."""
        settings = request.settings
        if isinstance(settings, PostgresTarget) and settings.role is PostgresRole.REPLICA:
            return NotApplicable("without a replica reads go to the primary; users need no maintenance page")
        return (
            Branch(
                name=self.name,
                steps=(maintenance_step("enable-maintenance", request.target, request.link.params),),
                verify=request.check(),
                verify_timeout_s=2.0,
            ),
        )


def maintenance_step(step_id: str, target: str, params: dict[str, object] | None = None) -> Step:
    """Turn maintenance mode on; also the first thing that is done when a chain has run out."""
    return Step(
        id=step_id,
        do=local("enable-maintenance", **{**(params or {}), "target": target}),
        attempts=5,
        timeout_s=10.0,
    )
