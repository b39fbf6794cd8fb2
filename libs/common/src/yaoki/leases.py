"""The lease that says who may run a PostgreSQL cluster's primary: one record in KV, without a TTL of NATS.

**Only the holder runs writable.** A record is changed only by compare-and-set on its revision, by three parties:

- the holder's agent renews it (`renewals` grows) every `ttl_s / 3` and stops its PostgreSQL at
  *send time of the last successful renewal + ttl_s - margin_s*, by its own CLOCK_BOOTTIME;
- the coordinator revokes it on the exact revision it saw (`revoked_by`), after which no renewal can succeed, and
  waits ttl_s + margin_s + drift from when it received that revision, or until the agent says that it has stopped;
- the promoting agent makes itself holder with its order's epoch before it promotes.
"""

from __future__ import annotations

import msgspec

from yaoki.epoch import NO_EPOCH, Epoch

BUCKET = "clusters"


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One server of the cluster as its lease record knows it.

    Attributes:
        agent: Worker name of the agent that guards it, e.g. `agent-pg-a`.
        promotable: Its agent takes part in the failsafe; an agent that is not asked must not be promoted.
        failsafe_url: Where its agent answers the holder directly when NATS is away.
    """

    agent: str
    host: str
    port: int
    promotable: bool = True
    failsafe_url: str = ""


class ClusterLease(msgspec.Struct, frozen=True, kw_only=True):
    """The record `clusters/<cluster>`.

    Attributes:
        holder: Member that may run writable; empty when nobody may.
        epoch: Of the order that made the holder; only grows.
        ttl_s: How long a renewal lasts, seconds.
        margin_s: How much earlier the holder stops; must cover the time to stop PostgreSQL.
        renewals: Counts the holder's renewals, so that each is a new revision.
        revoked_by: Run that took the lease away; empty while it holds.
        revoked_epoch: Epoch of that run's leader.
        members: All members by name. Empty or unknown membership means: demote.
        position: Last WAL position that the holder reported, bytes; what lag is compared with.
        timeline: Timeline of the holder.
        synchronous: Members among which the synchronous standbys are chosen.
        synchronous_required: Every acknowledged commit is on at least this many of `synchronous`. With k of n, any
            n - k + 1 of them hold all acknowledged commits between them. 0: nothing is promised (no synchronous
            standby configured, or the primary goes on without one).
    """

    cluster: str
    holder: str
    epoch: Epoch = NO_EPOCH
    ttl_s: float
    margin_s: float
    renewals: int = 0
    revoked_by: str = ""
    revoked_epoch: Epoch = NO_EPOCH
    members: dict[str, Member] = {}
    position: int = 0
    timeline: int = 0
    synchronous: tuple[str, ...] = ()
    synchronous_required: int = 0
