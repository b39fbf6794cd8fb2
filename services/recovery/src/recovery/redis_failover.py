"""The failover of a Redis group as one branch of a plan. Pure.

Redis has no lease: a master that cannot be reached may go on answering clients that have not heard of the new route.
The route is cut before the promotion, carries an epoch, and the old master's agent demotes it when it returns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaoki.plans import Branch, Call, Step, StepKind

from recovery.failover import agent_worker, local

if TYPE_CHECKING:
    from yaoki.config.clusters import RedisGroup

_STOP_S = 5.0
_FOLLOW_S = 10.0


def redis_failover_branch(group: str, settings: RedisGroup, *, verify: Call) -> Branch:
    """The steps that move the master of `group` to a replica."""
    steps = (
        Step(id="confirm-redis-lost", do=local("confirm-redis-lost", group=group), attempts=3, timeout_s=10.0),
        Step(
            id="cut-redis-route",
            do=local("cut-redis-route", group=group),
            undo=local("restore-redis-route", group=group, route="${cut-redis-route.before}"),
            attempts=3,
        ),
        Step(
            id="stop-old-redis",
            do=Call(worker="${confirm-redis-lost.agent}", action="redis.stop"),
            timeout_s=_STOP_S,
            required=False,
        ),
        Step(
            id="choose-redis",
            do=local("choose-redis", group=group, old="${confirm-redis-lost.member}"),
            attempts=3,
            timeout_s=10.0,
        ),
        Step(
            id="promote-redis",
            do=Call(worker="${choose-redis.agent}", action="redis.promote"),
            kind=StepKind.PIVOT,
            attempts=3,
        ),
        Step(
            id="publish-redis-route",
            do=local("publish-redis-route", group=group, member="${choose-redis.candidate}"),
            kind=StepKind.FORWARD,
            attempts=5,
        ),
        *(
            Step(
                id=f"follow-{name}",
                do=Call(
                    worker=agent_worker(member.agent),
                    action="redis.follow",
                    params={"primary": "${choose-redis.candidate}"},
                ),
                kind=StepKind.FORWARD,
                required=False,
                group="follow",
                timeout_s=_FOLLOW_S,
            )
            for name, member in settings.members.items()
        ),
    )
    return Branch(name="switch-redis", steps=steps, verify=verify, verify_timeout_s=15.0)
