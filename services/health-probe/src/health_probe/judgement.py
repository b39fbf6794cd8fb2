"""What the vantages of a target together make of it, and what has to be told of that: a pure state machine over views.

    healthy ──a vantage doubts──> suspect ──a quorum sees it fail──> failed ──no quorum possible any more──> healthy

Safety invariants, whatever the order of views, and however often each comes:

- no `FailureDetected` without a quorum of fresh views that say failed at that moment;
- each is followed by exactly one `FailureCleared` of the same incident before the next; nothing but votes for well
  clears it, and nothing holds a clearing back;
- no two incidents have the same identity, so that a new failure is never taken for an old one that was cleared;
- a view that says nothing new changes nothing.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
from yaoki.events.probe import (
    Ballot,
    DegradationEnded,
    FailureCleared,
    FailureDetected,
    FlappingStopped,
    TargetDegraded,
    TargetFlapping,
    TargetSuspected,
    VantageAgreement,
    VantageDisagreement,
)

from health_probe.flapping import share
from health_probe.hysteresis import Thresholds, incident_id
from health_probe.quorum import Outcome, Sighting, ballot_of, outcome_of, quorum_since, vote_of
from health_probe.records import Difference, HealthRecord, VerdictEvent, VerdictRecord
from health_probe.suppression import Decision, Failing, Ruling
from health_probe.verdicts import Identity  # noqa: TC001 - msgspec reads the annotation at run time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

_REMEMBERED = 16
_DOUBTS = (Ballot.SUSPECT, Ballot.FAILED)
_NOT_OVER = (Ballot.SUSPECT, Ballot.FAILED, Ballot.RECOVERING, Ballot.FLAPPING)


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """What does not change about a target.

    Attributes:
        vantages: Each has one vote.
        quorum: Votes that make a failure.
        timeout_s: Of one probe.
        disagreement_after_s: How long vantages may differ until that is told.
    """

    identity: Identity
    vantages: tuple[str, ...]
    quorum: int
    thresholds: Thresholds
    timeout_s: float
    disagreement_after_s: float


def judge(
    record: VerdictRecord | None,
    sightings: Sequence[Sighting],
    case: Case,
    *,
    now: datetime,
    explain: Callable[[Failing], Decision],
) -> VerdictRecord:
    """Judge once.

    Args:
        record: The verdict so far; None when there is none.
        sightings: One for each of `case.vantages`.
        case: The target.
        now: UTC.
        explain: Says whether a failure that was not told yet may be; asked in that case only.

    Returns:
        The new verdict, with what has to be told at the end of `untold`; `record` itself when nothing changed.
    """
    hearing = _Hearing(record or _first(case, now), sightings, case, now)
    hearing.hear_flapping()
    hearing.hear_incident(explain)
    hearing.hear_degradation()
    hearing.hear_difference()
    found = hearing.conclusion()
    return record if record is not None and _same(record, found) else found


def _first(case: Case, now: datetime) -> VerdictRecord:
    said = case.identity
    return VerdictRecord(
        target=said.target,
        kind=said.kind,
        region=said.region,
        failure_type=said.failure_type,
        state="unknown",
        since=now,
    )


class _Hearing:
    """One judgement: the record that is being changed, and the votes on the table."""

    def __init__(self, record: VerdictRecord, sightings: Sequence[Sighting], case: Case, now: datetime) -> None:
        self._record = record
        self._case = case
        self._now = now
        self._seen = {sighting.vantage: sighting for sighting in sightings}
        self._ballots = {
            vantage: ballot_of(sighting, case.thresholds, case.timeout_s) for vantage, sighting in self._seen.items()
        }
        self._votes = tuple(vote_of(sighting, self._ballots[vantage]) for vantage, sighting in self._seen.items())
        self._outcome = outcome_of(list(self._ballots.values()), case.quorum)
        self._events: list[VerdictEvent] = []

    def hear_flapping(self) -> None:
        """Whether it goes up and down too often for anything to be said of it."""
        flapping = self._views(Ballot.FLAPPING)
        since = self._record.flapping_since
        if since is None:
            if flapping and len(flapping) + len(self._views(Ballot.FAILED)) >= self._case.quorum:
                speaker = min(flapping, key=_began)
                self._suspect(speaker)
                self._change(flapping_since=self._now)
                changes = share(speaker.recent, self._case.thresholds.damping)
                incident, failed = self._record.incident_id, self._record.told
                self._tell(TargetFlapping, speaker, incident, since=self._now, failed=failed, share=changes)
        elif not flapping and self._outcome is not Outcome.UNDECIDED:
            incident, failed = self._record.incident_id, self._record.told
            self._tell(FlappingStopped, self._views()[0], incident, since=since, failed=failed)
            self._change(flapping_since=None)

    def hear_incident(self, explain: Callable[[Failing], Decision]) -> None:
        """Suspicion, failure and clearing."""
        if self._record.told:
            if self._outcome is Outcome.WELL:
                self._clear()
        elif self._outcome is Outcome.FAILED:
            self._consider_failure(explain)
        elif doubters := [view for view in self._views(*_DOUBTS) if view.incident_id not in self._record.settled]:
            self._change(suppressed_by=None)
            self._suspect(min(doubters, key=_began))
        elif self._outcome is Outcome.WELL and not self._pending():
            self._close()

    def hear_degradation(self) -> None:
        """Whether it works as it should."""
        degraded = [view for view in self._views(Ballot.WELL) if view.degradation.since is not None]
        fine = len(self._views(Ballot.WELL)) - len(degraded)
        failed = self._record.told or self._record.suppressed_by is not None
        if self._record.degraded_since is None:
            if len(degraded) >= self._case.quorum and not failed:
                moments = [view.degradation.since for view in degraded if view.degradation.since is not None]
                since = quorum_since(moments, self._case.quorum)
                speaker = next(view for view in degraded if view.degradation.since == since)
                self._change(
                    degraded_since=since,
                    degraded_incident=incident_id(self._case.identity.target, speaker.vantage, since),
                )
                self._tell(TargetDegraded, speaker, self._record.degraded_incident, since=since)
        elif failed or len(self._ballots) - fine < self._case.quorum:
            speaker = next(iter(self._views()))
            since = self._record.degraded_since
            self._tell(DegradationEnded, speaker, self._record.degraded_incident, since=since)
            self._change(degraded_since=None, degraded_incident=None)

    def hear_difference(self) -> None:
        """Whether vantages have differed for too long."""
        known = self._record.difference
        failing = self._views(Ballot.FAILED)
        differ = bool(failing) and Ballot.WELL in self._ballots.values() and self._outcome is not Outcome.FAILED
        if known is None:
            if differ:
                first = min(failing, key=_began)
                incident = self._record.incident_id or self._identity_for(first)
                self._differ(Difference(since=self._now, failing_from=_vantages(failing), incident_id=incident))
        elif self._agree(known):
            if known.told:
                speaker = self._speaker(known.failing_from)
                self._tell(VantageAgreement, speaker, known.incident_id, since=known.since)
            self._change(difference=None, disagreement_since=None)
        elif known.told:
            if failing:
                self._differ(msgspec.structs.replace(known, failing_from=_vantages(failing)))
        elif not differ:
            self._change(difference=None)
        elif (self._now - known.since).total_seconds() >= self._case.disagreement_after_s:
            self._tell_difference(msgspec.structs.replace(known, failing_from=_vantages(failing), told=True), failing)

    def conclusion(self) -> VerdictRecord:
        """The verdict with everything that was heard."""
        present = {sighting.view.incident_id for sighting in self._seen.values() if sighting.view is not None}
        # Identities sort by time. Some are kept longer than they are seen: a view may come late, and again.
        newest = self._record.settled[-_REMEMBERED:]
        self._change(settled=tuple(one for one in self._record.settled if one in present or one in newest))
        state = self._state()
        if state != self._record.state:
            self._change(state=state, since=self._now)
        self._change(votes=self._votes, quorum=self._case.quorum, untold=(*self._record.untold, *self._events))
        return self._record

    def _consider_failure(self, explain: Callable[[Failing], Decision]) -> None:
        failing = self._views(Ballot.FAILED)
        since = quorum_since([_began(view) for view in failing], self._case.quorum)
        speaker = next(view for view in failing if _began(view) == since)
        newest = sorted((view.checked_at for view in failing), reverse=True)[self._case.quorum - 1]
        self._suspect(speaker)
        decision = explain(Failing(first_failed_at=since, last_failed_at=newest))
        if decision.ruling is not Ruling.RAISE:
            self._change(suppressed_by=decision.because[0] if decision.ruling is Ruling.SUPPRESS else None)
            return
        self._change(told=True, suppressed_by=None, first_failed_at=since)
        incident = self._record.incident_id
        self._tell(FailureDetected, speaker, incident, first_failed_at=since, failures=speaker.failures)

    def _suspect(self, view: HealthRecord) -> None:
        """Open the incident, unless it is open."""
        if self._record.incident_id is None:
            self._change(incident_id=self._identity_for(view))
            self._tell(TargetSuspected, view, self._record.incident_id)

    def _clear(self) -> None:
        well = self._views(Ballot.WELL)
        down_since = self._record.first_failed_at or self._record.since
        at = quorum_since([view.since for view in well], len(self._ballots) - self._case.quorum + 1)
        speaker = next(view for view in well if view.since == at)
        downtime = max(0.0, (at - down_since).total_seconds())
        incident = self._record.incident_id
        self._tell(FailureCleared, speaker, incident, down_since=down_since, downtime_s=downtime)
        self._close()

    def _close(self) -> None:
        """End the incident. What vantages still hold open of it is settled and no reason for a new one."""
        if self._record.incident_id is None:
            return
        open_ones = {view.incident_id for view in self._views(*_NOT_OVER) if view.incident_id is not None}
        settled = tuple(sorted({*self._record.settled, *open_ones, self._record.incident_id}))
        self._change(incident_id=None, told=False, suppressed_by=None, first_failed_at=None, settled=settled)

    def _pending(self) -> bool:
        """Whether some vantage is still in an incident that is not settled."""
        return any(view.incident_id not in self._record.settled for view in self._views(*_NOT_OVER))

    def _agree(self, known: Difference) -> bool:
        if self._outcome is Outcome.FAILED:
            return True
        return all(self._ballots.get(vantage, Ballot.WELL) is Ballot.WELL for vantage in known.failing_from)

    def _differ(self, difference: Difference) -> None:
        self._change(difference=difference)

    def _tell_difference(self, difference: Difference, failing: Sequence[HealthRecord]) -> None:
        self._change(difference=difference, disagreement_since=difference.since)
        self._tell(
            VantageDisagreement,
            min(failing, key=_began),
            difference.incident_id,
            since=difference.since,
            failing_from=difference.failing_from,
        )
        others = [view for view in self._views(*_NOT_OVER) if view.vantage not in difference.failing_from]
        if not self._record.told and not others:
            self._close()

    def _state(self) -> str:
        if self._record.flapping_since is not None:
            return "flapping"
        if self._record.told or (self._record.suppressed_by is not None and self._outcome is not Outcome.WELL):
            return "failed"
        if self._record.incident_id is not None:
            return "suspect"
        return "healthy" if self._outcome is Outcome.WELL else "unknown"

    def _views(self, *ballots: Ballot) -> list[HealthRecord]:
        """Views of the vantages that voted so; all there are when none is named."""
        return [
            sighting.view
            for vantage, sighting in self._seen.items()
            if sighting.view is not None and (not ballots or self._ballots[vantage] in ballots)
        ]

    def _speaker(self, vantages: Iterable[str]) -> HealthRecord:
        views = self._views()
        return next((view for view in views if view.vantage in vantages), views[0])

    def _identity_for(self, view: HealthRecord) -> str:
        used = (*self._record.settled, self._record.incident_id)
        if view.incident_id is not None and view.incident_id not in used:
            return view.incident_id
        at = view.last.at
        while (derived := incident_id(view.target, view.vantage, at)) in used:
            at += timedelta(microseconds=1)
        return derived

    def _change(self, **fields: Any) -> None:
        self._record = msgspec.structs.replace(self._record, **fields)

    def _tell(self, event: type[VerdictEvent], view: HealthRecord, incident: str | None, **more: Any) -> None:
        said = self._case.identity
        self._events.append(
            event(
                target=said.target,
                target_kind=said.kind,
                region=said.region,
                vantage=view.vantage,
                failure_type=said.failure_type,
                incident_id=incident or "",
                evidence=view.evidence or (view.last,),
                votes=self._votes,
                **more,
            )
        )


def _same(before: VerdictRecord, after: VerdictRecord) -> bool:
    """Whether nothing changed that anybody has to know: newer results of the same opinion are none of it."""
    return _bare(before) == _bare(after)


def _bare(record: VerdictRecord) -> VerdictRecord:
    votes = tuple(msgspec.structs.replace(vote, checked_at=None, error_class=None, detail="") for vote in record.votes)
    return msgspec.structs.replace(record, votes=votes)


def _began(view: HealthRecord) -> datetime:
    return view.first_failed_at or view.since


def _vantages(views: Iterable[HealthRecord]) -> tuple[str, ...]:
    return tuple(sorted(view.vantage for view in views))
