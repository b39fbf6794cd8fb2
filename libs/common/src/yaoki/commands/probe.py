"""What the health probe is asked: `api.probe.*`."""

from datetime import datetime
from typing import ClassVar

import msgspec

from yaoki.commands.base import Request
from yaoki.events.probe import FailureType, ProbeResult, Vote


class TargetHealth(msgspec.Struct, frozen=True, kw_only=True):
    """Health of a target as one vantage sees it; also the value of `health/<target>.<vantage>`.

    Attributes:
        state: `healthy`, `suspect`, `failed` or `unknown` (the state machine's, not one probe's).
        since: When it entered the state, UTC.
        incident_id: Set while suspect or failed.
        streak: How many results in a row agree with the newest one.
        checked_at: When the newest result arrived, UTC; a stale view is an unknown one.
        observed_since: Since when results have come without a hole, UTC: nothing that lasted longer than three
            intervals since then went unseen. None while nothing is known.
    """

    target: str
    kind: str
    region: str
    vantage: str
    state: str
    since: datetime
    checked_at: datetime
    last: ProbeResult
    streak: int = 1
    incident_id: str | None = None
    failure_type: FailureType
    observed_since: datetime | None = None


class TargetVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What all vantages of a target together make of it; also the value of `health/<target>`.

    It is written when it changes. How fresh it is stands in the views.

    Attributes:
        state: `healthy`, `suspect`, `failed`, `flapping` or `unknown`.
        since: When it entered the state, UTC.
        incident_id: Set while suspect, failed or flapping.
        quorum: How many votes for `failed` make a failure.
        votes: Of every configured vantage, when the verdict was last written.
        suppressed_by: The failed target that explains this one's failure; then no failure was told.
        degraded_since: Set while it is degraded, UTC.
        disagreement_since: Set while vantages have differed for too long, UTC.
    """

    target: str
    kind: str
    region: str
    failure_type: FailureType
    state: str
    since: datetime
    quorum: int = 1
    votes: tuple[Vote, ...] = ()
    incident_id: str | None = None
    suppressed_by: str | None = None
    degraded_since: datetime | None = None
    disagreement_since: datetime | None = None


class CheckReply(msgspec.Struct, frozen=True, kw_only=True):
    """A fresh probe, and what was known before.

    Attributes:
        health: The newest view from the vantage that probed.
        verdict: What all vantages together made of it before.
        vantage: From where it was probed.
        prober: Who probed.
    """

    target: str
    result: ProbeResult
    health: TargetHealth | None = None
    verdict: TargetVerdict | None = None
    vantage: str = ""
    prober: str = ""


class CheckTarget(Request, frozen=True, kw_only=True):
    """Probe a target now, on a fresh connection, and answer with the result.

    Where several probers look from its vantages, one that does not watch it answers, or one of another vantage; kinds
    that judge by what they saw before (`cpu`, `metric`, ...) are answered by the prober that watches them.

    Attributes:
        target: Name of the target in the configuration.
        timeout_s: At most this long, seconds; the target's own timeout when left out.
    """

    service: ClassVar[str] = "probe"
    verb: ClassVar[str] = "check"
    reply: ClassVar[type[msgspec.Struct]] = CheckReply

    target: str
    timeout_s: float | None = None


class CheckInReply(msgspec.Struct, frozen=True, kw_only=True):
    """The check-in is stored.

    Attributes:
        at: When it was heard, UTC.
        next_by: When the next one is missed, UTC.
    """

    target: str
    at: datetime
    next_by: datetime


class CheckIn(Request, frozen=True, kw_only=True):
    """Say that a target of kind `heartbeat` is alive. Without an acknowledgement ask again.

    Attributes:
        target: Name of the target in the configuration.
        token: Where the target asks for one.
    """

    service: ClassVar[str] = "probe"
    verb: ClassVar[str] = "check-in"
    reply: ClassVar[type[msgspec.Struct]] = CheckInReply

    target: str
    token: str | None = None


class TargetList(msgspec.Struct, frozen=True, kw_only=True):
    """Every target.

    Attributes:
        targets: Its views, by target and vantage.
        verdicts: What the vantages together make of it, by target.
    """

    targets: tuple[TargetHealth, ...]
    verdicts: tuple[TargetVerdict, ...] = ()


class ListTargets(Request, frozen=True, kw_only=True):
    """The present health of every target, without probing."""

    service: ClassVar[str] = "probe"
    verb: ClassVar[str] = "list"
    reply: ClassVar[type[msgspec.Struct]] = TargetList
