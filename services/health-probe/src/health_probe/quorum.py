"""From the views of several vantages to one verdict: pure.

Each vantage has one vote, and only two kinds of vote count: `failed` and `well`. Everything else (a view that is old,
missing or unknown, a mere suspicion, a target that answers again but not for long enough) says neither.

Invariants:

- failed only when at least `quorum` vantages say so now, each with fresh results of its own;
- well only when so many say so that the others, whatever they see, could not make up a quorum;
- never both, and neither of them by silence: what is too little for either is undecided.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

import msgspec
from yaoki.events.probe import Ballot, ProbeStatus, Vote

from health_probe.hysteresis import Health
from health_probe.observation import LONGEST_HOLE
from health_probe.records import HealthRecord  # noqa: TC001 - msgspec reads the annotation at run time

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from datetime import datetime

    from health_probe.hysteresis import Thresholds


_BALLOTS: Final[dict[str, Ballot]] = {Health.HEALTHY: Ballot.WELL, Health.FLAPPING: Ballot.FLAPPING}


class Outcome(StrEnum):
    """What the votes amount to."""

    FAILED = "failed"
    WELL = "well"
    UNDECIDED = "undecided"


class Sighting(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one vantage's view of a target.

    Attributes:
        view: The newest one; None when there is none.
        age_s: Since its newest result, seconds.
    """

    vantage: str
    view: HealthRecord | None = None
    age_s: float = 0.0


def patience_s(view: HealthRecord, thresholds: Thresholds, timeout_s: float) -> float:
    """How old a view may be and still speak for its vantage: as long as a few probes take at their present pace."""
    pace = thresholds.interval_s if view.incident_id is None else thresholds.suspect_interval_s
    return LONGEST_HOLE * pace + timeout_s


def ballot_of(sighting: Sighting, thresholds: Thresholds, timeout_s: float) -> Ballot:
    """What a vantage's view counts for."""
    view = sighting.view
    if view is None or sighting.age_s > patience_s(view, thresholds, timeout_s):
        return Ballot.UNKNOWN
    if view.last.status is ProbeStatus.UNKNOWN:
        return Ballot.UNKNOWN
    if view.state in (Health.SUSPECT, Health.FAILED):
        return _while_failing(view, thresholds)
    return _BALLOTS.get(view.state, Ballot.UNKNOWN)


def _while_failing(view: HealthRecord, thresholds: Thresholds) -> Ballot:
    if view.last.status is not ProbeStatus.UNHEALTHY:
        return Ballot.RECOVERING
    # A vantage that comes back with an old failure has to see it again, as often as for a new one.
    again = view.failures >= thresholds.unhealthy_after
    return Ballot.FAILED if again and view.state == Health.FAILED else Ballot.SUSPECT


def vote_of(sighting: Sighting, ballot: Ballot) -> Vote:
    """The vote as it is told."""
    if sighting.view is None:
        return Vote(vantage=sighting.vantage, ballot=ballot, detail="nothing is known")
    last = sighting.view.last
    return Vote(
        vantage=sighting.vantage,
        ballot=ballot,
        checked_at=sighting.view.checked_at,
        error_class=last.error_class,
        detail=last.detail,
    )


def outcome_of(ballots: Collection[Ballot], quorum: int) -> Outcome:
    """What the ballots of all configured vantages amount to."""
    failed = sum(ballot is Ballot.FAILED for ballot in ballots)
    well = sum(ballot is Ballot.WELL for ballot in ballots)
    return outcome(failed, well, vantages=len(ballots), quorum=quorum)


def outcome(failed: int, well: int, *, vantages: int, quorum: int) -> Outcome:
    """What so many votes for `failed` and for `well` amount to, where `vantages` could vote.

    The one rule of quorums: of verdicts, and of the minutes of a service level.
    """
    if failed >= quorum:
        return Outcome.FAILED
    return Outcome.WELL if vantages - well < quorum else Outcome.UNDECIDED


def quorum_since(moments: Iterable[datetime], needed: int) -> datetime:
    """Since when at least `needed` vantages have agreed, by the moments at which each of them began to.

    Raises:
        ValueError: There are fewer than `needed`.
    """
    ordered = sorted(moments)
    if len(ordered) < needed:
        raise ValueError(f"{len(ordered)} vantages agree, {needed} have to")
    return ordered[needed - 1]
