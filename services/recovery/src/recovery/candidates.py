"""Which standby may become the primary. Pure: one snapshot in, one decision out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from yaoki.commands.agent import AgentStatus

STANDBY = "standby"
PRIMARY = "primary"


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a cluster at the moment of choice.

    Attributes:
        holder: The member whose lease was revoked and that is proven fenced.
        timeline: The holder's timeline; 0 when unknown.
        position: The last WAL position that the holder reported, bytes.
        others: All members but the holder, by name.
        promotable: Those of `others` that may become the primary.
        statuses: What the agents answered just now; an agent that did not answer is missing.
        synchronous: Members among which the holder chose those that had to acknowledge a commit.
        required: How many of `synchronous` every acknowledged commit is on; 0 when nothing is promised.
        max_lag_bytes: How much of `position` a candidate may lack.
    """

    holder: str
    timeline: int
    position: int
    others: frozenset[str]
    promotable: frozenset[str]
    statuses: tuple[AgentStatus, ...]
    synchronous: frozenset[str]
    required: int
    max_lag_bytes: int


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """The standby to promote.

    Attributes:
        position: End of WAL that it has, bytes.
        lag_bytes: What it lacks of the holder's last known position.
        followers: Reachable standbys that remain.
    """

    member: str
    agent: str
    timeline: int
    position: int
    lag_bytes: int
    followers: tuple[str, ...]


class NoCandidate(msgspec.Struct, frozen=True, kw_only=True):
    """Nobody may be promoted.

    Attributes:
        reason: One sentence.
        may_pass: Looking again in a moment may find one (a grant lapses, an agent comes back).
    """

    reason: str
    may_pass: bool = False


def choose_candidate(snapshot: Snapshot) -> Candidate | NoCandidate:
    """Choose the standby that has the most of what the primary wrote.

    Invariant, whatever the snapshot: a chosen member

    - is a promotable, running, connectable standby and never the fenced holder;
    - is on the newest timeline seen, which is not older than the holder's;
    - lacks at most `max_lag_bytes` of the holder's last known position;
    - is not bound by a failsafe grant;
    - with `ANY k (n)` synchronous replication has every commit that was ever acknowledged: at least n-k+1 of the n
      answer, and it is level with the (k-u)-th furthest of them, where u are silent. (A commit is on at least k of
      the n; the u silent ones may be among those, so at least k-u of the ones that answer have it.)

    Nobody is chosen while another member than the holder already says that it is a primary.
    """
    known = [status for status in snapshot.statuses if status.member in snapshot.others]
    usurpers = sorted(status.member for status in known if status.running and status.role == PRIMARY)
    if usurpers:
        return NoCandidate(reason=f"{', '.join(usurpers)} is a primary already without holding the lease")
    standbys = sorted(
        (status for status in known if status.running and status.role == STANDBY), key=_place, reverse=True
    )
    if not standbys:
        return NoCandidate(reason="no standby answers", may_pass=True)
    if standbys[0].timeline < snapshot.timeline:
        return NoCandidate(
            reason=f"the newest timeline of a standby is {standbys[0].timeline}, older than the primary's "
            f"{snapshot.timeline}"
        )
    if missing := _quorum_missing(snapshot, standbys):
        return NoCandidate(reason=missing, may_pass=True)
    return _first_eligible(snapshot, standbys)


def _first_eligible(snapshot: Snapshot, standbys: list[AgentStatus]) -> Candidate | NoCandidate:
    objections = [_objection(snapshot, status, standbys) for status in standbys]
    for status, objection in zip(standbys, objections, strict=True):
        if not objection:
            return Candidate(
                member=status.member,
                agent=status.agent,
                timeline=status.timeline,
                position=_position(status),
                lag_bytes=_lag(snapshot, status),
                followers=tuple(sorted(one.member for one in standbys if one is not status)),
            )
    waits = any(_bound(status) or not status.accepting for status in standbys)
    return NoCandidate(reason="; ".join(objections), may_pass=waits)


def _objection(snapshot: Snapshot, status: AgentStatus, standbys: list[AgentStatus]) -> str:
    """Why `status` may not be promoted; empty when it may."""
    lag = _lag(snapshot, status)
    bound = _acknowledged_place(snapshot, standbys)
    newest = standbys[0].timeline
    objections = (
        (status.member not in snapshot.promotable, "is configured not to be promoted"),
        (status.timeline < newest, f"is on timeline {status.timeline}, others are on {newest}"),
        (lag > snapshot.max_lag_bytes, f"lacks {lag} bytes of WAL, the limit is {snapshot.max_lag_bytes}"),
        (
            bound is not None and _place(status) < bound,
            "may lack acknowledged commits that another standby has",
        ),
        (_bound(status), f"has granted the holder {status.granted_s:.1f} s more"),
        (not status.accepting, "accepts no connection"),
    )
    return next((f"{status.member} {text}" for holds, text in objections if holds), "")


def _quorum_missing(snapshot: Snapshot, standbys: list[AgentStatus]) -> str:
    answering = len(_synchronous(snapshot, standbys))
    total = len(snapshot.synchronous)
    needed = total - snapshot.required + 1
    if snapshot.required == 0 or answering >= needed:
        return ""
    return (
        f"{answering} of {total} synchronous standbys answer, {needed} must: an acknowledged commit is on "
        f"{snapshot.required} of them, perhaps only on those that do not answer"
    )


def _acknowledged_place(snapshot: Snapshot, standbys: list[AgentStatus]) -> tuple[int, int] | None:
    """What a candidate must have at least so that no acknowledged commit is missing; None when none is promised."""
    if snapshot.required == 0:
        return None
    answering = _synchronous(snapshot, standbys)
    silent = len(snapshot.synchronous) - len(answering)
    return _place(answering[snapshot.required - silent - 1])


def _synchronous(snapshot: Snapshot, standbys: list[AgentStatus]) -> list[AgentStatus]:
    """Those of `standbys` (furthest first) among which commits were acknowledged."""
    return [status for status in standbys if status.member in snapshot.synchronous]


def _place(status: AgentStatus) -> tuple[int, int]:
    return (status.timeline, _position(status))


def _position(status: AgentStatus) -> int:
    # After the WAL receiver restarts, `received` begins again at a segment's start; what is replayed never shrinks.
    return max(status.received, status.replayed)


def _lag(snapshot: Snapshot, status: AgentStatus) -> int:
    return max(0, snapshot.position - _position(status))


def _bound(status: AgentStatus) -> bool:
    return status.granted_s > 0


class RedisCandidate(msgspec.Struct, frozen=True, kw_only=True):
    """The replica to promote, with its replication offset."""

    member: str
    agent: str
    position: int


def choose_replica(
    old: str, promotable: frozenset[str], statuses: tuple[AgentStatus, ...]
) -> RedisCandidate | NoCandidate:
    """Choose the Redis replica with the highest replication offset; never the old master.

    Redis replicates asynchronously: what the old master acknowledged in its last moments may be lost.
    """
    replicas = [
        status
        for status in statuses
        if status.member != old and status.member in promotable and status.running and status.accepting
        and status.role == STANDBY
    ]  # fmt: skip
    if not replicas:
        return NoCandidate(reason="no replica answers", may_pass=True)
    best = max(replicas, key=lambda status: (status.received, status.member))
    return RedisCandidate(member=best.member, agent=best.agent, position=best.received)
