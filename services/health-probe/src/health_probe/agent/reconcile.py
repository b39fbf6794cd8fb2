"""What the agent of a PostgreSQL does next. Pure: one snapshot in, one action out; act, look again.

Invariants, whatever the snapshot:

- RUN_PRIMARY is chosen only with a live permit, and ACQUIRE only for a record that names this member unrevoked;
- a server that may write without a live permit is killed, or, when the lease is its own and the watchdog is armed,
  the lease is renewed first (ACQUIRE);
- a guarded standby without a live permit is killed: a promotion that was begun may make it writable at any moment;
- RUN_PRIMARY is never chosen for a standby's directory: only a promotion, with its new timeline, makes it a primary;
- a directory that was a primary is never started as a standby before it was rewound or cloned;
- when nobody holds the lease nothing is promoted, rewound or cloned: the old primary may be all there is.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec
from yaoki.epoch import Epoch  # noqa: TC002 - msgspec reads the annotation at run time
from yaoki.leases import ClusterLease  # noqa: TC002 - as above

from health_probe.agent.addresses import ServerAddress  # noqa: TC001 - as above
from health_probe.agent.lease import Standing, standing


class Role(StrEnum):
    """What the server is, as far as can be told. UNKNOWN: it runs and does not answer."""

    PRIMARY = "primary"
    STANDBY = "standby"
    UNKNOWN = "unknown"


class Action(StrEnum):
    """One thing to do.

    NOTHING: all is as it should be, or somebody else has to act. FOUND: create the cluster's record. ACQUIRE: renew the
    lease that the record gives to this member. FENCE: kill the server and everything of it. CLEAN_UP: kill what a dead
    postmaster left. RUN_PRIMARY, RUN_STANDBY: start. FOLLOW: point the running standby to the holder. REJOIN: stop,
    rewind or clone, start as the holder's standby. RELEASE_GUARD: tell the watchdog that nothing may write.
    """

    NOTHING = "nothing"
    FOUND = "found"
    ACQUIRE = "acquire"
    FENCE = "fence"
    CLEAN_UP = "clean-up"
    RUN_PRIMARY = "run-primary"
    RUN_STANDBY = "run-standby"
    FOLLOW = "follow"
    REJOIN = "rejoin"
    RELEASE_GUARD = "release-guard"


class Local(msgspec.Struct, frozen=True, kw_only=True):
    """This host as it was just found.

    Attributes:
        processes: How many processes work in the data directory.
        postmaster: One of them is the postmaster.
        role: Of the running server.
        standby_signal: It was started as a standby; false as soon as it is promoted.
        needs_rewind: It was a primary since it last followed one.
        needs_clone: It is missing or damaged.
        permit: A permit is held and live.
        guarded: The watchdog is armed.
        renounced: Epoch of the lease that this agent gave up; a holder that was told again, by a newer epoch, may go
            on. None: it never did.
        upstream: Whom the standby is configured to follow; None when unknown.
        stalled: The standby has received nothing for long, although the holder accepts connections.
        initial: The configuration names this member as the primary of a new cluster.
        sole: No other member may be promoted, so that nobody else can end a crash.
    """

    processes: int
    postmaster: bool
    role: Role
    standby_signal: bool
    needs_rewind: bool
    needs_clone: bool
    permit: bool
    guarded: bool
    renounced: Epoch | None = None
    upstream: ServerAddress | None = None
    stalled: bool = False
    initial: bool = False
    sole: bool = False


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """The lease record as it was last read.

    Attributes:
        record: None when the cluster has none.
        revision: Of the record; 0 when there is none.
    """

    record: ClusterLease | None
    revision: int


def decide(  # noqa: PLR0911 - one return for each case
    seen: Seen | None, local: Local, member: str, holder_address: ServerAddress | None
) -> Action:
    """The next action.

    Args:
        seen: None while the record could not be read since the agent started.
        local: This host.
        member: This member.
        holder_address: Where the holder listens; None when there is none or it is unknown.
    """
    if local.processes and not local.postmaster:
        return Action.CLEAN_UP
    if local.processes and local.standby_signal and local.guarded and not local.permit:
        return Action.FENCE  # an agent that died had begun to promote it: it may become writable at any moment
    may_write = bool(local.processes) and not local.standby_signal
    if seen is None:
        return _blind(local, may_write=may_write)
    if seen.record is None:
        return _founding(local, may_write=may_write)
    held_by = standing(seen.record, member)
    if held_by is Standing.HOLDER:
        return _as_holder(seen.record, local, may_write=may_write)
    if may_write or local.permit:
        return Action.FENCE
    if held_by is Standing.OTHER:
        return _as_follower(local, holder_address)
    return _while_nobody_holds(local)


def _blind(local: Local, *, may_write: bool) -> Action:
    """NATS has not been reached yet: keep what is safe by itself."""
    if may_write and not local.permit and not local.guarded:
        return Action.FENCE
    return Action.NOTHING if may_write else _while_nobody_holds(local)


def _founding(local: Local, *, may_write: bool) -> Action:
    if may_write and not local.permit:
        # Even the initial primary: a record that is gone may have had another holder, who still writes.
        return Action.FENCE
    if local.initial and not local.standby_signal and not local.needs_clone:
        return Action.FOUND
    return _while_nobody_holds(local)


def _as_holder(record: ClusterLease, local: Local, *, may_write: bool) -> Action:
    if may_write:
        # Without a guard nobody would stop it while NATS, and so the renewal, is away.
        return Action.NOTHING if local.permit else Action.ACQUIRE if local.guarded else Action.FENCE
    if local.needs_clone:
        return Action.NOTHING
    if local.standby_signal:
        # Made holder and not yet promoted: the order that did it is repeated, or another one revokes.
        return Action.NOTHING if local.processes else Action.RUN_STANDBY
    if local.permit:
        return Action.RUN_PRIMARY
    if local.renounced is None or record.epoch > local.renounced or local.sole:
        return Action.ACQUIRE
    return Action.RELEASE_GUARD if local.guarded else Action.NOTHING


def _as_follower(local: Local, holder: ServerAddress | None) -> Action:
    if holder is None:
        return _while_nobody_holds(local)
    if local.guarded:
        return Action.RELEASE_GUARD
    if not local.processes:
        if local.needs_clone or local.needs_rewind:
            return Action.REJOIN
        return Action.RUN_STANDBY
    if local.role is Role.STANDBY and local.upstream != holder:
        return Action.FOLLOW
    return Action.REJOIN if local.stalled else Action.NOTHING


def _while_nobody_holds(local: Local) -> Action:
    if local.guarded:
        return Action.RELEASE_GUARD
    if not local.processes and not local.needs_rewind and not local.needs_clone:
        return Action.RUN_STANDBY
    return Action.NOTHING
