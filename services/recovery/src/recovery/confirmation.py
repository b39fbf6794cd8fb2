"""The second, independent signal that a primary is gone. Pure: observations in, a verdict out."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import msgspec

from recovery.candidates import STANDBY

if TYPE_CHECKING:
    from collections.abc import Callable

    from yaoki.commands.agent import AgentStatus
    from yaoki.leases import ClusterLease

_IN_A_ROW = 2


class Finding(Enum):
    """What the signals say about the primary."""

    LOST = "lost"
    ALIVE = "alive"
    UNDECIDED = "undecided"


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """One look at a cluster.

    Attributes:
        record: The lease record.
        unchanged_s: For how long this observer has seen the same revision of it, seconds.
        holder: What the holder's agent answered; None when it did not.
        standbys: What the other members' agents answered.
    """

    record: ClusterLease
    unchanged_s: float
    holder: AgentStatus | None
    standbys: tuple[AgentStatus, ...] = ()


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The finding and the signal that it rests on."""

    finding: Finding
    signal: str


def judge(observations: list[Observation]) -> Verdict:
    """Whether the primary is lost, by a signal that is independent of the probe that detected the failure.

    Invariant: LOST needs one of: the lease is revoked or without a holder; the host's agent finds no process, or
    twice in a row a server that accepts no login or is a standby; the agent is silent and the lease has lapsed, or
    twice in a row no standby receives from the primary. A silent agent alone proves nothing.

    Args:
        observations: Oldest first; at least one.
    """
    newest = observations[-1]
    record = newest.record
    if not record.holder or record.revoked_by:
        return _lost(f"nobody holds the lease (revoked by {record.revoked_by or 'nobody'})")
    if newest.holder is not None:
        return _judge_by_agent(observations)
    if newest.unchanged_s >= record.ttl_s:
        return _lost(f"the lease of {record.holder} was not renewed for {newest.unchanged_s:.1f} s")
    if _repeated(observations, _nobody_receives):
        return _lost(f"no standby receives from {record.holder}, and its agent does not answer")
    return Verdict(
        finding=Finding.UNDECIDED,
        signal=f"the agent of {record.holder} does not answer, but its lease has not lapsed",
    )


def _judge_by_agent(observations: list[Observation]) -> Verdict:
    holder = observations[-1].holder
    if holder is not None and not holder.running:
        return _lost(f"the agent of {holder.member} finds no process of the server")
    if _repeated(observations, lambda one: one.holder is not None and not one.holder.accepting):
        return _lost("the host's agent cannot log in to the server either")
    if _repeated(observations, lambda one: one.holder is not None and one.holder.role == STANDBY):
        return _lost("the holder of the lease is a standby that was never promoted")
    if _repeated(observations, lambda one: one.holder is not None and one.holder.accepting):
        return Verdict(finding=Finding.ALIVE, signal="the host's agent logs in to the server without trouble")
    return Verdict(finding=Finding.UNDECIDED, signal="the host's agent has been asked once")


def _nobody_receives(observation: Observation) -> bool:
    return bool(observation.standbys) and not any(one.upstream_connected for one in observation.standbys)


def _repeated(observations: list[Observation], condition: Callable[[Observation], bool]) -> bool:
    recent = observations[-_IN_A_ROW:]
    return len(recent) == _IN_A_ROW and all(map(condition, recent))


def _lost(signal: str) -> Verdict:
    return Verdict(finding=Finding.LOST, signal=signal)
