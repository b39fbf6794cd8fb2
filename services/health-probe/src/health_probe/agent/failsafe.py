"""The failsafe: how the holder goes on while NATS is away for everybody. Pure decisions.

Invariant: a member that has granted the holder G seconds accepts no promotion until they have passed, also after a
restart or reboot; so while *every* other promotable member grants, nobody can become holder, and the present one may
write until the sending of its request + G - margin. One missing grant: no extension.

A member that has accepted a promotion of a higher epoch promises nothing to an older holder any more.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

import msgspec
from yaoki.epoch import NO_EPOCH, Epoch
from yaoki.errors import RejectedError

from health_probe.agent.lease import Standing, standing

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from yaoki.leases import ClusterLease, Member

LONGEST_GRANT_S = 600.0
CLOCK_TOLERANCE_S = 30.0


class GrantRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The holder asks to go on.

    Attributes:
        member: Whom it asks; a request for one member is none for another.
        seconds: For how long.
    """

    cluster: str
    holder: str
    member: str
    epoch: Epoch
    seconds: float


class GrantReply(msgspec.Struct, frozen=True, kw_only=True):
    """The answer. `granted` false with the reason."""

    granted: bool
    reason: str = ""


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What a standby's agent has promised; lies on its disk before it answers.

    Attributes:
        until: CLOCK_BOOTTIME, valid in the boot `boot_id`.
        seconds: Its whole length, which counts anew from the start of the agent after a reboot.
        promised: Highest epoch of a promotion that this member has accepted.
    """

    holder: str = ""
    epoch: Epoch = NO_EPOCH
    until: float = 0.0
    seconds: float = 0.0
    boot_id: str = ""
    promised: Epoch = NO_EPOCH

    def remaining(self, now: float) -> float:
        """Seconds for which a promotion is still excluded."""
        return max(0.0, self.until - now)


def after_restart(stored: Grant, boot_id: str, now: float) -> Grant:
    """The stored grant in terms of this boot's clock; after a reboot it runs once more, whole."""
    if stored.boot_id == boot_id or not stored.seconds:
        return stored
    return msgspec.structs.replace(stored, until=now + stored.seconds, boot_id=boot_id)


def refusal(  # noqa: PLR0911 - one return for each reason
    request: GrantRequest, *, cluster: str, member: str, grant: Grant, known: ClusterLease | None, writable: bool
) -> str:
    """Why a request is refused; empty when it is granted.

    Args:
        request: Authenticated already.
        cluster: This member's.
        member: This member.
        grant: What this member has promised so far.
        known: The lease record as this agent last saw it; it may be old, so it can only add reasons to refuse.
        writable: This member is holder itself, or is being promoted.
    """
    if request.cluster != cluster or request.member != member:
        return f"request is for {request.member!r} of {request.cluster!r}, this is {member!r} of {cluster!r}"
    if not 0 < request.seconds <= LONGEST_GRANT_S:
        return f"{request.seconds} s were asked for; expected more than 0 and at most {LONGEST_GRANT_S:.0f}"
    if writable:
        return f"{member} is the holder itself, or is being promoted"
    if request.epoch < grant.promised:
        return f"{member} has accepted a promotion of epoch {grant.promised}, above {request.epoch}"
    if known is None or request.epoch > known.epoch:
        return ""
    if request.epoch < known.epoch:
        return f"the lease is at epoch {known.epoch}, above {request.epoch}"
    if standing(known, request.holder) is not Standing.HOLDER:
        return f"the lease of {request.holder!r} was revoked by {known.revoked_by or 'a release'!r}"
    return ""


def granted(before: Grant, request: GrantRequest, *, boot_id: str, now: float) -> Grant:
    """What is written to the disk before the answer. A grant never shortens one that runs."""
    return Grant(
        holder=request.holder,
        epoch=request.epoch,
        until=max(before.until, now + request.seconds),
        seconds=max(request.seconds, before.remaining(now)),
        boot_id=boot_id,
        promised=before.promised,
    )


def must_grant(member: str, *memberships: Mapping[str, Member]) -> frozenset[str] | None:
    """Everybody whose grant is needed: the promotable members but `member`, by every membership there is.

    None when the membership is unknown: somebody unasked might be promoted, so there is no failsafe then.
    """
    if any(member not in known for known in memberships):
        return None
    promotable = {name for known in memberships for name, entry in known.items() if entry.promotable}
    return frozenset(promotable - {member})


def may_extend(needed: frozenset[str] | None, granting: Collection[str]) -> bool:
    """Whether the holder gains time: all that are needed have granted."""
    return needed is not None and needed.issubset(granting)


def signature(secret: str, *, direction: str, timestamp: str, nonce: str, body: bytes) -> str:
    """HMAC-SHA256 over direction (`ask`, `answer`), time, nonce and body, hexadecimal.

    The answer carries the nonce of its request, so it cannot be taken from another exchange.
    """
    message = b"\n".join([direction.encode(), timestamp.encode(), nonce.encode(), body])
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


class ReplayGuard:
    """Accepts each authenticated request once, within `CLOCK_TOLERANCE_S` of its time.

    Args:
        started: Wall clock at the start, Unix seconds. Requests that are older are refused, because the nonces of
            the time before are forgotten.
    """

    def __init__(self, started: float) -> None:
        self._started = started
        self._seen: dict[str, float] = {}

    def check(self, timestamp: str, nonce: str, now: float) -> None:
        """Raise RejectedError when the request is too old, from the future, or a replay."""
        try:
            sent = float(timestamp)
        except ValueError:
            raise RejectedError(f"timestamp {timestamp[:40]!r} is no number of Unix seconds") from None
        if not abs(now - sent) <= CLOCK_TOLERANCE_S or sent < self._started:
            raise RejectedError(
                f"request is {now - sent:.1f} s old; at most {CLOCK_TOLERANCE_S:.0f} s are accepted, and none from "
                "before the agent's start; are the hosts' clocks in step?"
            )
        self._seen = {known: at for known, at in self._seen.items() if now - at <= 2 * CLOCK_TOLERANCE_S}
        if nonce in self._seen:
            raise RejectedError("request was seen before")
        self._seen[nonce] = now
