"""What the agent of a Redis does next. Pure.

Redis has no lease: the published route decides who is the master. A server is started as a replica unless the route, or
for a new group the configuration, names it as master, so that an old master that returns is demoted before a client
can reach it. While the route is cut somebody is at work: nothing is started or demoted.

A master whose agent cannot read the route may have been replaced. It goes on accepting writes only while *all* other
members replicate from it: one that was promoted does not, and while all do nobody was. Redis enforces that itself
(`min-replicas-to-write`), so it holds whatever becomes of the agent after that.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec
from yaoki.flags import RouteState

if TYPE_CHECKING:
    from yaoki.flags import Route


ROUTE_SILENCE_S = 5.0
REPLICA_LAG_S = 5


class RedisAction(StrEnum):
    """One thing to do."""

    NOTHING = "nothing"
    START_MASTER = "start-master"
    START_REPLICA = "start-replica"
    FOLLOW = "follow"


class RedisLocal(msgspec.Struct, frozen=True, kw_only=True):
    """The local server as it was just found.

    Attributes:
        running: A process of the data directory lives.
        master: It says that it is a master; None when it does not answer.
        upstream: `(host, port)` that it follows.
        left_to_recovery: It crashed as master a moment ago, and recovery is to decide who is master now.
    """

    running: bool
    master: bool | None
    upstream: tuple[str, int] | None = None
    left_to_recovery: bool = False


class Master(msgspec.Struct, frozen=True):
    """Who is to be the master."""

    member: str
    host: str
    port: int


def master_of(route: Route | None, initial: Master) -> Master | None:
    """Who is to be the master; None while that is being decided."""
    if route is not None and route.state is RouteState.CUT:
        return None
    if route is None or route.primary is None:
        return initial
    return Master(route.primary.member, route.primary.host, route.primary.port)


def decide_redis(master: Master | None, local: RedisLocal, member: str) -> RedisAction:
    """The next action of the agent of `member`."""
    if master is None:
        return RedisAction.NOTHING
    mine = master.member == member
    if not local.running:
        if mine:
            return RedisAction.NOTHING if local.left_to_recovery else RedisAction.START_MASTER
        return RedisAction.START_REPLICA
    if local.master is None or mine:
        # A running replica becomes master by an order only: the route of an undone failover may name it briefly.
        return RedisAction.NOTHING
    follows = not local.master and local.upstream == (master.host, master.port)
    return RedisAction.NOTHING if follows else RedisAction.FOLLOW


def replicas_demanded(*, master: bool, silent_s: float, others: int) -> int | None:
    """How many replicas a write needs beyond the server's own rule; None when nothing is demanded.

    Args:
        master: The server says that it is one.
        silent_s: For how long the route could not be read.
        others: Members of the group beside this one.
    """
    return others if master and others and silent_s >= ROUTE_SILENCE_S else None
