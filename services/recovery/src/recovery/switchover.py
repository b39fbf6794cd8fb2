"""The planned switchover of a PostgreSQL cluster: whether it may begin, its steps, and when a standby has everything.

Pure. Clients are held first, then the primary is stopped *cleanly*: its last record is a checkpoint, and it waits until
its standbys have that. Only then is the lease revoked. With the agent's word that nothing runs, and the revocation
that keeps it so, what the control file says is final, and a standby that has replayed this last record has everything
that was ever acknowledged.

Until the promotion every step can be taken back: the old primary gets its lease again, and the clients with it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec
from yaoki.flags import RouteState
from yaoki.plans import Branch, Call, Plan, Step

from recovery.candidates import STANDBY, NoCandidate
from recovery.failover import agent_worker, local, promotion_steps
from recovery.initial_routes import FIRST_ROUTE
from recovery.restoration import serves

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from yaoki.commands.agent import AgentStatus
    from yaoki.config.clusters import PostgresCluster, PostgresMember
    from yaoki.flags import Route
    from yaoki.leases import ClusterLease

PLAN = "switch-over"
_CHECKPOINT_S = 60.0
_CLEAN_STOP_S = 10.0
_KILL_S = 10.0
_RECEIVED_S = 10.0
_SERVES_AGAIN_S = 30.0


class Healthy(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster as it was seen just now.

    Attributes:
        record: The lease; None when there is none.
        holder: What the holder's agent answered; None when it did not.
        standbys: What the agents of all other members answered.
        members: As configured.
        max_lag_bytes: How much a successor may lack while the primary still writes.
    """

    record: ClusterLease | None
    holder: AgentStatus | None
    standbys: tuple[AgentStatus, ...]
    members: Mapping[str, PostgresMember]
    max_lag_bytes: int


class Successor(msgspec.Struct, frozen=True, kw_only=True):
    """Who is to become the primary after whom.

    Attributes:
        followers: Standbys that remain, beside the old primary.
    """

    member: str
    previous: str
    lag_bytes: int
    followers: tuple[str, ...]


def choose_successor(seen: Healthy, to: str = "") -> Successor | NoCandidate:
    """Who can take over without a loss: `to`, or the standby that has most.

    Invariant: the holder of the lease serves, and the successor is a promotable standby that streams from it on the
    same timeline, is no further behind than `max_lag_bytes`, and is not bound by a failsafe grant.
    """
    record, holder = seen.record, seen.holder
    if record is None or not record.holder or record.revoked_by:
        return NoCandidate(reason="nobody holds the lease; a switchover is for a primary that is well")
    if holder is None or not serves(record, holder):
        return NoCandidate(reason=f"{record.holder} holds the lease but does not serve as the primary")
    if to and (to == record.holder or to not in seen.members):
        others = ", ".join(sorted(set(seen.members) - {record.holder})) or "(there is no other member)"
        return NoCandidate(reason=f"{to!r} cannot take over from {record.holder}; expected one of {others}")
    standbys = sorted(seen.standbys, key=lambda one: (one.replayed, one.member), reverse=True)
    wanted = [one for one in standbys if to in ("", one.member)]
    objections = [_objection(seen, holder, one) for one in wanted]
    for status, objection in zip(wanted, objections, strict=True):
        if not objection:
            return Successor(
                member=status.member,
                previous=record.holder,
                lag_bytes=_lag(holder, status),
                followers=tuple(sorted(one.member for one in standbys if one.running and one is not status)),
            )
    silent = f"the agent of {to} does not answer" if to else "no standby's agent answers"
    return NoCandidate(reason="; ".join(objections) or silent)


def _objection(seen: Healthy, holder: AgentStatus, status: AgentStatus) -> str:
    """Why `status` may not take over; empty when it may."""
    lag = _lag(holder, status)
    configured = seen.members.get(status.member)
    objections = (
        (configured is None or not configured.promotable, "is configured not to be promoted"),
        (not status.accepting or status.role != STANDBY, "is no standby that accepts connections"),
        (not status.upstream_connected, "does not stream from the primary"),
        (status.timeline != holder.timeline, f"is on timeline {status.timeline}, not {holder.timeline}"),
        (lag > seen.max_lag_bytes, f"lacks {lag} bytes of WAL, the limit is {seen.max_lag_bytes}"),
        (status.granted_s > 0, f"has granted the holder {status.granted_s:.1f} s more"),
    )
    return next((f"{status.member} {text}" for holds, text in objections if holds), "")


def _lag(holder: AgentStatus, status: AgentStatus) -> int:
    return max(0, holder.received - max(status.received, status.replayed))


def cooling_until(route: Route | None, soak_s: float) -> datetime | None:
    """Until when a primary that was changed is left where it is; None when it was not, or long ago enough not to say.

    Args:
        route: As published.
        soak_s: How long a change has to last before the next one.
    """
    if route is None or route.by == FIRST_ROUTE:
        return None
    return route.since + timedelta(seconds=soak_s)


def is_cut(route: Route | None) -> bool:
    """Whether a run is at work on the route, or has left it to the restorer."""
    return route is not None and route.state is RouteState.CUT


def has_everything(status: AgentStatus | None, *, position: int, timeline: int) -> bool:
    """Whether a standby has replayed the last record of the old primary, which begins at `position`."""
    return (
        status is not None
        and status.accepting
        and status.role == STANDBY
        and status.timeline == timeline
        and status.replayed > position
    )


def switchover_plan(cluster: str, settings: PostgresCluster, successor: Successor, *, verify: Call | None) -> Plan:
    """The run of one switchover.

    Args:
        cluster: Name in `postgres_clusters`.
        settings: That entry.
        successor: Chosen before; looked at again as the first step.
        verify: Fresh proof that clients are served, where a target is configured.
    """
    old_agent = agent_worker(settings.members[successor.previous].agent)
    confirmation = Step(
        id="confirm-successor",
        do=local(
            "confirm-successor",
            cluster=cluster,
            to=successor.member,
            position="${final-position.position}",
            timeline="${final-position.timeline}",
        ),
        attempts=2,
        timeout_s=_RECEIVED_S,
    )
    steps = (
        *_handing_over(cluster, successor, old_agent),
        *promotion_steps(cluster, settings, confirmation, previous=successor.previous),
    )
    return Plan(name=PLAN, branches=(Branch(name=PLAN, steps=steps, verify=verify, verify_timeout_s=15.0),))


def _handing_over(cluster: str, successor: Successor, agent: str) -> tuple[Step, ...]:
    """From the last look to the end of the old primary's WAL."""
    again = local("serve-again", cluster=cluster, holder=successor.previous)
    return (
        Step(
            id="check-successor",
            do=local("check-successor", cluster=cluster, to=successor.member, previous=successor.previous),
            attempts=2,
        ),
        # What is written now need not be written while clients wait for the clean stop, nor replayed by the successor.
        Step(
            id="checkpoint-before",
            do=Call(worker=agent, action="postgres.checkpoint"),
            required=False,
            timeout_s=_CHECKPOINT_S,
        ),
        Step(
            id="hold-clients",
            do=local("cut-route", cluster=cluster),
            undo=again,
            attempts=3,
            timeout_s=_SERVES_AGAIN_S,
        ),
        Step(
            id="demote",
            do=Call(worker=agent, action="postgres.demote", params={"patience_s": _CLEAN_STOP_S}),
            timeout_s=_CLEAN_STOP_S + _KILL_S,
        ),
        Step(
            id="revoke-lease",
            do=local("revoke-lease", cluster=cluster),
            undo=local("reinstate-holder", cluster=cluster),
            attempts=3,
            timeout_s=_SERVES_AGAIN_S,
        ),
        # The passing of time would prove that it cannot write, but not what it has written.
        Step(id="prove-stopped", do=local("prove-fenced", cluster=cluster, by_agent_only=True), timeout_s=_KILL_S),
        Step(id="final-position", do=Call(worker=agent, action="postgres.final-position"), attempts=2),
    )
