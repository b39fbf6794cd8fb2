"""What brings back a cluster whose run ended with the route cut. Pure: what was seen in, a plan or a reason out.

A run that fails half-way leaves the route cut on purpose: better nobody writes than two. Nobody has to be woken for the
rest when the world changes by itself: an agent comes back, a promotion that was given up happens after all. Every way
is a run of its own, so it holds the cluster alone, and its epoch is above that of every order still on its way.

Invariant, whatever is seen: no way promotes, or leads clients to, a member that does not hold the lease; the lease is
taken from a member only by the fenced failover, and only while its record still says what the acknowledged commits are
on, which is until a candidate has made itself the holder.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec
from yaoki.plans import Call, Plan

from recovery.candidates import PRIMARY, STANDBY, Candidate, NoCandidate
from recovery.failover import failover_branch, holder_branch

if TYPE_CHECKING:
    from yaoki.commands.agent import AgentStatus
    from yaoki.config.clusters import PostgresCluster
    from yaoki.leases import ClusterLease

PLAN = "restore-service"
_FIRST_PAUSE_S = 5.0
_LONGEST_PAUSE_S = 300.0


class Way(StrEnum):
    """How clients get their primary back.

    SERVE_HOLDER: from who holds the lease, promoted first if it was not. REINSTATE_HOLDER: from who had it before the
    revocation. FAIL_OVER: from a standby.
    """

    SERVE_HOLDER = "serve-holder"
    REINSTATE_HOLDER = "reinstate-holder"
    FAIL_OVER = "fail-over"


class NoWay(msgspec.Struct, frozen=True):
    """Nothing is safe now; the sentence says what is missing."""

    reason: str


class Abandoned(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster whose route was cut by a run that has ended.

    Attributes:
        record: The lease.
        previous: Whom the clients went to before.
        holder: What the agent of the record's holder answers; None when it does not.
        choice: Who could be promoted instead of the holder.
    """

    record: ClusterLease
    previous: str
    holder: AgentStatus | None
    choice: Candidate | NoCandidate


def serves(record: ClusterLease, status: AgentStatus) -> bool:
    """Whether the holder of the record is a primary that may write and accepts connections."""
    return status.member == record.holder and status.accepting and status.holder and status.role == PRIMARY


def waits_to_be_promoted(record: ClusterLease, status: AgentStatus) -> bool:
    """Whether the holder of the record is still the standby that it was when it was chosen."""
    return status.member == record.holder and status.accepting and status.role == STANDBY


def way_back(seen: Abandoned) -> Way | NoWay:
    """The way that is safe now, the one that loses nothing first."""
    record, status = seen.record, seen.holder
    if not record.holder:
        return NoWay("nobody ever held the lease")
    if record.revoked_by:
        if status is not None:
            return Way.REINSTATE_HOLDER
    elif status is not None and (serves(record, status) or waits_to_be_promoted(record, status)):
        return Way.SERVE_HOLDER
    if record.holder != seen.previous:
        # Made holder in the failover, it may have acknowledged commits that no other member has.
        return NoWay(f"{record.holder} was to be promoted and holds the lease; its agent has to come back")
    if isinstance(seen.choice, Candidate):
        return Way.FAIL_OVER
    return NoWay(f"{record.holder} does not serve, and no standby may be promoted: {seen.choice.reason}")


def restoration_plan(
    way: Way, seen: Abandoned, settings: PostgresCluster, *, verify: Call | None, lag_bytes: int | None
) -> Plan:
    """The plan of one attempt.

    Args:
        way: See `way_back`.
        seen: What it was chosen from.
        settings: Of the cluster.
        verify: Fresh proof that the clients' target is well again.
        lag_bytes: What the holder lacked when it was chosen, where that is known.
    """
    cluster = seen.record.cluster
    if way is Way.FAIL_OVER:
        return Plan(name=PLAN, branches=(failover_branch(cluster, settings, verify=verify),))
    revoked_by = seen.record.revoked_by if way is Way.REINSTATE_HOLDER else ""
    branch = holder_branch(
        cluster, settings, verify=verify, previous=seen.previous, revoked_by=revoked_by, lag_bytes=lag_bytes
    )
    return Plan(name=PLAN, branches=(branch,))


def pause_after(attempts: int) -> float:
    """Seconds until the next attempt, after so many that ended without success."""
    return min(_FIRST_PAUSE_S * 2.0 ** min(attempts - 1, 16), _LONGEST_PAUSE_S)
