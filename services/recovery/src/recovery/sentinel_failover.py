"""The failover of a Redis group that Sentinel manages, as one branch of a plan. Pure.

Sentinel decides and promotes. The run only asks for it, waits for the decision, proves it by a write, and publishes
it. Nothing of this has to be undone: while nothing was decided, nothing was changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaoki.plans import Branch, Call, Step

from recovery.failover import local

if TYPE_CHECKING:
    from yaoki.config.chains import ChainLink

_SWITCH_S = 30.0
_ASK_S = 10.0


def sentinel_failover_branch(group: str, link: ChainLink, *, verify: Call) -> Branch:
    """The steps that have Sentinel move the master of `group`."""
    steps = (
        Step(id="confirm-master-lost", do=local("confirm-master-lost", group=group), attempts=3, timeout_s=_ASK_S),
        Step(
            id="order-sentinel-failover",
            do=local("order-sentinel-failover", group=group, old="${confirm-master-lost.master}"),
            attempts=max(2, link.attempts),
            timeout_s=link.timeout or _SWITCH_S,
        ),
        Step(
            id="write-through-master",
            do=local("write-through-master", group=group, master="${order-sentinel-failover.master}"),
            attempts=5,
            timeout_s=_ASK_S,
        ),
        Step(
            id="publish-sentinel-route",
            do=local("publish-sentinel-route", group=group, master="${order-sentinel-failover.master}"),
            attempts=5,
            timeout_s=_ASK_S,
        ),
    )
    return Branch(name="switch-redis", steps=steps, verify=verify, verify_timeout_s=15.0)
