"""Decisions about the lease of a PostgreSQL cluster. Pure: values in, values out.

Invariant: at every moment at most one member may write. It rests on four rules, each a function here:

- a holder may write until `deadline_after` its last *successful* renewal was sent, never longer, by its own
  CLOCK_BOOTTIME (`deadline_after`); an unanswered renewal counts as none (`settle`);
- whatever changes the record is a compare-and-set, so that a renewal cannot pass a revocation (`renewal`);
- a member becomes holder only of a record that nobody holds, with an epoch above it, and not while it has granted
  the failsafe (`promotion_obstacle`);
- who waits for a holder to stop waits `ttl_s + margin_s` from when it *received* the revision that it revoked,
  which is later than the sending of the last successful renewal.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec
from yaoki.errors import ErrorCode, RejectedError, StaleEpochError
from yaoki.leases import ClusterLease, Member

if TYPE_CHECKING:
    from collections.abc import Mapping

    from yaoki.epoch import Epoch


class Permit(msgspec.Struct, frozen=True, kw_only=True):
    """The right of this agent's server to write.

    Attributes:
        record: The lease record as this agent last wrote it.
        revision: Its revision in KV.
        deadline: CLOCK_BOOTTIME at which the right ends, seconds.
    """

    record: ClusterLease
    revision: int
    deadline: float

    def live(self, now: float) -> bool:
        """Whether the server may write at `now` (CLOCK_BOOTTIME)."""
        return now < self.deadline


class Standing(StrEnum):
    """What a record says about one member.

    HOLDER: it may renew. OTHER: another member holds the lease. NOBODY: revoked, or released.
    """

    HOLDER = "holder"
    OTHER = "other"
    NOBODY = "nobody"


def standing(record: ClusterLease, member: str) -> Standing:
    """What `record` says about `member`."""
    if not record.holder or record.revoked_by:
        return Standing.NOBODY
    return Standing.HOLDER if record.holder == member else Standing.OTHER


def deadline_after(sent: float, record: ClusterLease) -> float:
    """When the right to write ends that a renewal (or grant of `ttl_s`) sent at `sent` gives."""
    return sent + record.ttl_s - record.margin_s


def renewal_interval(record: ClusterLease) -> float:
    """Seconds from one renewal to the next."""
    return record.ttl_s / 3


def patience(record: ClusterLease) -> float:
    """How long a renewal may take before the failsafe is asked as well, seconds.

    Two of them and the interval fit between a renewal and its deadline, so that one lost answer of NATS does not
    stop the server: with ttl 3 s and margin 1 s, 1.0 + 2 x 0.4 s of 2.0 s.
    """
    return max(0.05, (record.ttl_s - record.margin_s - renewal_interval(record)) * 0.4)


def renewal(record: ClusterLease, *, position: int, timeline: int, members: Mapping[str, Member]) -> ClusterLease:
    """The record that the holder writes over `record`."""
    return msgspec.structs.replace(
        record,
        renewals=record.renewals + 1,
        position=max(record.position, position) if timeline == record.timeline else position,
        timeline=max(record.timeline, timeline),
        members=dict(members),
    )


class Settled(StrEnum):
    """What a reading says after a renewal that was refused or not answered.

    AGAIN: still the holder; renew over the revision that was read. LOST: stop the server, now.
    """

    AGAIN = "again"
    LOST = "lost"


def settle(found: ClusterLease | None, member: str, epoch: Epoch) -> Settled:
    """Decide after reading the record that a renewal did not overwrite.

    Even when the reading shows our own renewal, no time is gained: nobody can tell how long its answer was under way.
    A record that is gone, or holds another epoch, is not ours.
    """
    if found is None or found.epoch != epoch or standing(found, member) is not Standing.HOLDER:
        return Settled.LOST
    return Settled.AGAIN


def founding(
    cluster: str, member: str, *, ttl_s: float, margin_s: float, members: Mapping[str, Member]
) -> ClusterLease:
    """The first record of a cluster, with its configured initial primary as holder."""
    return ClusterLease(cluster=cluster, holder=member, ttl_s=ttl_s, margin_s=margin_s, members=dict(members))


def promoted(record: ClusterLease, member: str, epoch: Epoch, *, members: Mapping[str, Member]) -> ClusterLease:
    """The record by which `member` makes itself the holder. Nothing is promised about synchronous standbys yet."""
    return msgspec.structs.replace(
        record,
        holder=member,
        epoch=epoch,
        renewals=0,
        revoked_by="",
        members=dict(members),
        synchronous=(),
        synchronous_required=0,
    )


def promotion_obstacle(  # noqa: PLR0911 - one return for each reason, in the order in which they matter
    record: ClusterLease | None, member: str, epoch: Epoch, *, granted_s: float
) -> RejectedError | None:
    """Why an order of `epoch` to promote `member` must be refused; None when it may go on.

    A repeat of the order that already made the member holder goes on, also when a later leader of the same run gives it
    again with its own, higher epoch after the agent died in between.

    Args:
        record: The record as just read; the compare-and-set that follows is on its revision.
        member: Whom to promote.
        epoch: Of the order.
        granted_s: Seconds for which this member's failsafe grant still runs.
    """
    if record is None:
        return RejectedError("the cluster has no lease record; its initial primary has to be started first")
    if record.holder == member and record.epoch <= epoch and not record.revoked_by:
        return None
    if epoch <= record.epoch or epoch < record.revoked_epoch:
        newest = max(record.epoch, record.revoked_epoch)
        return StaleEpochError(f"order has epoch {epoch}, but the lease of {record.cluster} is at {newest}")
    if granted_s > 0:
        return RejectedError(
            f"{member} has granted the holder {record.holder!r} to go on without NATS for another {granted_s:.1f} s; "
            "promote after that",
            code=ErrorCode.UNSAFE,
        )
    if record.holder and not record.revoked_by:
        return RejectedError(
            f"{record.holder!r} holds the lease of {record.cluster} since epoch {record.epoch}; revoke it first",
            code=ErrorCode.UNSAFE,
        )
    if not record.members.get(member, _UNKNOWN_MEMBER).promotable:
        return RejectedError(f"{member!r} is no promotable member in the lease record of {record.cluster}")
    return None


_UNKNOWN_MEMBER = Member(agent="", host="", port=0, promotable=False)
