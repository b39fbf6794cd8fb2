"""The verdict of several vantages: what holds in whatever order their views come, and what typical stories tell."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from health_probe import degradation
from health_probe.degradation import Degradation
from health_probe.hysteresis import TargetState, advance, initial
from health_probe.judgement import Case, judge
from health_probe.quorum import Outcome, Sighting, ballot_of, outcome_of
from health_probe.records import HealthRecord, VerdictRecord, to_record
from health_probe.suppression import Decision, Ruling
from health_probe.verdicts import Identity, event_id
from hypothesis import given
from hypothesis import strategies as st
from yaoki.events.probe import (
    Ballot,
    ErrorClass,
    FailureCleared,
    FailureDetected,
    FailureType,
    ProbeResult,
    ProbeStatus,
    VantageDisagreement,
)

from .station import START, THRESHOLDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from health_probe.records import VerdictEvent
    from health_probe.suppression import Failing

NAMES = ("kyoto", "osaka", "tokyo", "sapporo")
GRACE_S = 5.0
STORY = ["TargetSuspected", "FailureDetected", "FailureCleared"]
_STATUS = {
    "F": ProbeStatus.UNHEALTHY,
    "S": ProbeStatus.HEALTHY,
    "D": ProbeStatus.DEGRADED,
    "U": ProbeStatus.UNKNOWN,
}


def raise_all(_failing: Failing) -> Decision:
    return Decision(ruling=Ruling.RAISE)


def suppress_all(_failing: Failing) -> Decision:
    return Decision(ruling=Ruling.SUPPRESS, because=("network",))


class Bench:
    """Vantages with real state machines, and a judge that sees of each whatever view the test shows it."""

    def __init__(self, vantages: int, quorum: int) -> None:
        self.names = NAMES[:vantages]
        self.second = 0
        self.case = Case(
            identity=self._identity(""),
            vantages=self.names,
            quorum=quorum,
            thresholds=THRESHOLDS,
            timeout_s=1.0,
            disagreement_after_s=GRACE_S,
        )
        self._states: dict[str, TargetState] = {name: initial("db", name, START) for name in self.names}
        self._degraded = dict.fromkeys(self.names, Degradation())
        self.views: dict[str, list[HealthRecord]] = {name: [] for name in self.names}
        self.record: VerdictRecord | None = None
        self.told: list[VerdictEvent] = []

    @staticmethod
    def _identity(vantage: str) -> Identity:
        return Identity(
            target="db", kind="tcp", region="jp", vantage=vantage, failure_type=FailureType.NETWORK_PARTITION
        )

    def look(self, vantage: str, letter: str) -> None:
        """One result of one vantage."""
        self.second += 1
        status = _STATUS[letter]
        result = ProbeResult(
            status=status,
            at=START + timedelta(seconds=self.second),
            response_ms=1.0,
            error_class=ErrorClass.REFUSED if letter == "F" else None,
        )
        state, _ = advance(self._states[vantage], result, THRESHOLDS)
        self._states[vantage] = state
        self._degraded[vantage] = degradation.extended(self._degraded[vantage], result, THRESHOLDS)
        view = to_record(state, result, self._identity(vantage), degradation=self._degraded[vantage])
        self.views[vantage].append(view)

    def sightings(self, *, behind: dict[str, int] | None = None, stale: Iterable[str] = ()) -> list[Sighting]:
        """The newest views, of some vantages an older one, of some one that is too old."""
        found = []
        for name in self.names:
            seen = self.views[name]
            lag = (behind or {}).get(name, 0)
            view = seen[max(0, len(seen) - 1 - lag)] if seen else None
            found.append(Sighting(vantage=name, view=view, age_s=1e12 if name in stale else 0.0))
        return found

    def hear(self, sightings: list[Sighting] | None = None, explain: Any = raise_all) -> list[VerdictEvent]:
        """Judge once; return what is new to be told."""
        now = START + timedelta(seconds=self.second)
        shown = sightings or self.sightings()
        before = self.record
        self.record = judge(before, shown, self.case, now=now, explain=explain)
        new = list(self.record.untold[len(before.untold) if before else 0 :])
        self.told += new
        return new

    def outcome(self, sightings: list[Sighting]) -> Outcome:
        ballots = [ballot_of(sighting, THRESHOLDS, 1.0) for sighting in sightings]
        return outcome_of(ballots, self.case.quorum)

    def story(self, *rounds: str, explain: Any = raise_all) -> list[str]:
        """Rounds of one letter a vantage, judged after each result; return what was told."""
        first = len(self.told)
        for letters in rounds:
            for name, letter in zip(self.names, letters, strict=True):
                if letter != ".":
                    self.look(name, letter)
                    self.hear(explain=explain)
        return [type(event).__name__ for event in self.told[first:]]


steps = st.lists(
    st.tuples(
        st.sampled_from(NAMES),
        st.sampled_from("FFFSSSDU"),
        st.dictionaries(st.sampled_from(NAMES), st.integers(0, 3), max_size=2),
        st.sets(st.sampled_from(NAMES), max_size=2),
    ),
    max_size=30,
)
benches = st.integers(1, 4).flatmap(lambda vantages: st.tuples(st.just(vantages), st.integers(1, vantages)))


@given(benches, steps)
def test_whatever_comes_in_whatever_order(sizes: tuple[int, int], script: list[Any]) -> None:
    """Results of any vantage, older views again, silent vantages: the invariants of `judgement`."""
    bench = Bench(*sizes)
    open_incident: str | None = None
    detected: list[str] = []
    for vantage, letter, behind, stale in script:
        if vantage in bench.names:
            bench.look(vantage, letter)
        shown = bench.sightings(behind=behind, stale=stale)
        for event in bench.hear(shown):
            if isinstance(event, FailureDetected):
                assert bench.outcome(shown) is Outcome.FAILED
                assert open_incident is None
                assert event.incident_id not in detected
                open_incident = event.incident_id
                detected.append(event.incident_id)
                failing = [vote for vote in event.votes if vote.ballot is Ballot.FAILED]
                assert len(failing) >= bench.case.quorum
            elif isinstance(event, FailureCleared):
                assert bench.outcome(shown) is Outcome.WELL
                assert event.incident_id == open_incident
                assert event.downtime_s >= 0
                open_incident = None
    assert bench.record is None or bench.record.told == (open_incident is not None)
    identities = [event_id(event) for event in bench.told]
    assert len(set(identities)) == len(identities)


@given(benches, steps)
def test_the_same_views_again_change_nothing(sizes: tuple[int, int], script: list[Any]) -> None:
    bench = Bench(*sizes)
    for vantage, letter, behind, stale in script:
        if vantage in bench.names:
            bench.look(vantage, letter)
        shown = bench.sightings(behind=behind, stale=stale)
        bench.hear(shown)
        judged = bench.record
        assert bench.hear(shown) == []
        assert bench.record is judged


@given(benches, steps)
def test_a_failure_that_all_see_is_told_and_cleared_whatever_was_before(
    sizes: tuple[int, int], script: list[Any]
) -> None:
    """Long enough for flapping to end: first all fail for good, then all are well for good."""
    bench = Bench(*sizes)
    for vantage, letter, behind, stale in script:
        if vantage in bench.names:
            bench.look(vantage, letter)
        bench.hear(bench.sightings(behind=behind, stale=stale))

    bench.story(*["F" * sizes[0]] * 25)
    assert bench.record is not None
    assert (bench.record.told, bench.record.state) == (True, "failed")
    bench.story(*["S" * sizes[0]] * 25)
    assert (bench.record.told, bench.record.state) == (False, "healthy")
    assert isinstance(
        [event for event in bench.told if isinstance(event, FailureDetected | FailureCleared)][-1], FailureCleared
    )


@given(benches, steps)
def test_while_suppressed_nothing_is_raised_and_what_was_told_before_is_cleared(
    sizes: tuple[int, int], script: list[Any]
) -> None:
    bench = Bench(*sizes)
    bench.story(*["F" * sizes[0]] * 3)
    for vantage, letter, behind, stale in script:
        if vantage in bench.names:
            bench.look(vantage, letter)
        bench.hear(bench.sightings(behind=behind, stale=stale), explain=suppress_all)
    bench.story(*["S" * sizes[0]] * 25, explain=suppress_all)

    kinds = [type(event).__name__ for event in bench.told if isinstance(event, FailureDetected | FailureCleared)]
    assert kinds == STORY[1:]


@pytest.mark.parametrize(
    ("vantages", "quorum", "rounds", "told"),
    [
        pytest.param(1, 1, ["S", "F", "F", "S", "S"], STORY, id="one vantage"),
        pytest.param(1, 1, ["S", "F", "S", "S"], STORY[:1], id="a suspicion that comes to nothing"),
        pytest.param(3, 2, ["SSS", "FFS", "FFS", "SSS", "SSS"], STORY, id="two of three"),
        pytest.param(3, 2, ["SSS", "F..", "F..", "F.."], STORY[:1], id="one of three alone"),
        pytest.param(3, 1, ["SSS", "FSS", "FSS"], STORY[:2], id="one of three is enough where configured"),
        pytest.param(3, 3, ["SSS", "FFF", "FF.", "SSS", "SSS"], STORY[:1], id="all have to agree where configured"),
        pytest.param(2, 2, ["SS", "FF", "FF", "S.", "S."], STORY, id="with two, one that is well again clears"),
        pytest.param(3, 2, ["SSS", "FFS", "FFS", "UUS", "UUS"], STORY[:2], id="unknown clears nothing"),
        pytest.param(1, 1, ["S", "U", "U", "U"], [], id="the prober's own fault"),
        pytest.param(1, 1, ["D", "D", "D", "S", "S"], ["TargetDegraded", "DegradationEnded"], id="degraded and over"),
        pytest.param(1, 1, ["S", "D", "S", "D"], [], id="not degraded often enough in a row"),
        pytest.param(3, 2, ["DSS", "DSS", "DSS"], [], id="degraded in one's eyes only"),
        pytest.param(
            1, 1, ["D", "D", "F", "F"], ["TargetDegraded", *STORY[:2], "DegradationEnded"], id="degraded, then failed"
        ),
        pytest.param(
            3,
            2,
            ["SSS", "FSS", "FSS", "FSS", "FSS", "SSS", "SSS"],
            ["TargetSuspected", "VantageDisagreement", "VantageAgreement"],
            id="they differ for long",
        ),
        pytest.param(
            3,
            2,
            ["SSS", "FSS", "FSS", "FSS", "FSS", "FFS", "FFS"],
            ["TargetSuspected", "VantageDisagreement", "TargetSuspected", "FailureDetected", "VantageAgreement"],
            id="another joins the one that saw it first",
        ),
        pytest.param(
            3,
            2,
            ["SSS", "FFS", "FFS", "FSS", "FSS", "FSS", "FSS"],
            [*STORY, "VantageDisagreement"],
            id="one goes on failing after the clearing",
        ),
        pytest.param(1, 1, ["S", *"FSFSFSFSFSFSFS"], ["TargetSuspected", "TargetFlapping"], id="flapping"),
    ],
)
def test_what_is_told(vantages: int, quorum: int, rounds: list[str], told: list[str]) -> None:
    assert Bench(vantages, quorum).story(*rounds) == told


def test_a_failure_is_dated_by_the_moment_from_which_a_quorum_saw_it() -> None:
    bench = Bench(3, 2)
    bench.story("SSS", "F..", "F..", ".F.", ".F.")
    detected = next(event for event in bench.told if isinstance(event, FailureDetected))

    assert detected.vantage == "osaka"
    assert detected.first_failed_at == START + timedelta(seconds=6)
    assert detected.failures == 2
    assert [vote.ballot for vote in detected.votes] == [Ballot.FAILED, Ballot.FAILED, Ballot.WELL]


def test_a_failure_of_its_parent_explains_it_until_the_ruling_changes() -> None:
    bench = Bench(1, 1)
    assert bench.story("S", "F", "F", "F", explain=suppress_all) == ["TargetSuspected"]
    assert bench.record is not None
    assert (bench.record.state, bench.record.suppressed_by) == ("failed", "network")
    assert bench.story("F") == ["FailureDetected"]
    assert bench.record.suppressed_by is None
    assert bench.story("S", "S", explain=suppress_all) == ["FailureCleared"]


def test_a_suppressed_failure_that_ends_was_never_told_and_is_not_cleared() -> None:
    bench = Bench(1, 1)
    assert bench.story("S", "F", "F", "S", "S", explain=suppress_all) == ["TargetSuspected"]
    assert bench.record is not None
    assert (bench.record.state, bench.record.suppressed_by) == ("healthy", None)


def test_a_vantage_that_comes_back_with_an_old_failure_has_to_see_it_again() -> None:
    """As it does after a break: the state stands, the counts do not."""
    bench = Bench(3, 2)
    bench.story("SSS", "FFS")
    returned = [
        msgspec.structs.replace(view[-1], state="failed", failures=1) if view[-1].failures else view[-1]
        for view in bench.views.values()
    ]
    shown = [Sighting(vantage=view.vantage, view=view) for view in returned]

    assert not any(isinstance(event, FailureDetected) for event in bench.hear(shown))


def test_a_disagreement_names_who_sees_it_fail() -> None:
    bench = Bench(3, 2)
    bench.story("SSS", "SFS", "SFS", "SFS", "SFS")
    event = next(event for event in bench.told if isinstance(event, VantageDisagreement))

    assert event.failing_from == ("osaka",)
    assert bench.record is not None
    assert bench.record.state == "healthy"
    assert bench.record.disagreement_since == event.since


def test_a_suspicion_lives_until_the_vantage_that_has_it_is_well_again() -> None:
    """Though the others outvote it: else the next failure in a row would be nobody's."""
    bench = Bench(3, 2)
    bench.story("SSS", "F..", "S..")
    assert bench.record is not None
    assert bench.record.state == "suspect"

    assert bench.story("S..") == []
    assert (bench.record.state, bench.record.incident_id) == ("healthy", None)
