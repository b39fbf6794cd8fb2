"""From a window of events to disasters: each class by what shows it, and what holds for every window."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yaoki.disasters import DisasterClass as Disaster
from yaoki.dr.classification import Finding, classify
from yaoki.events.backup import BackupFailureClass as Why
from yaoki.events.backup import VerificationStage as Stage
from yaoki.events.probe import ErrorClass, FailureType

from .signs import (
    DATABASE,
    agreeing,
    backup_completed,
    backup_failed,
    broken,
    cleared,
    components,
    differing,
    escalated,
    failed,
    observed,
    verified,
)

if TYPE_CHECKING:
    from yaoki.events import Event

WIDE = components("tokyo/api", "tokyo/orders-db", "tokyo/cache", "osaka/web", "osaka/stock-db", "osaka/search")
NAMES = tuple(one.name for one in WIDE)
AUTH = ErrorClass.AUTH
EXTENT = {
    Disaster.PARTIAL_CLUSTER_FAILURE: 1,
    Disaster.MASSIVE_CLUSTER_FAILURE: 2,
    Disaster.DATA_CENTER_FAILURE: 2,
    Disaster.COMPLETE_SYSTEM_FAILURE: 3,
}


def classes(*events: Event) -> list[Disaster]:
    return [one.disaster for one in classify(observed(*events), WIDE)]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([failed(name) for name in NAMES], Disaster.COMPLETE_SYSTEM_FAILURE),
        ([failed(name) for name in ("api", "orders-db", "cache")], Disaster.DATA_CENTER_FAILURE),
        ([failed(name) for name in ("api", "cache", "web", "search")], Disaster.MASSIVE_CLUSTER_FAILURE),
        ([failed(name) for name in ("api", "web")], Disaster.PARTIAL_CLUSTER_FAILURE),
        ([differing(name) for name in ("api", "web")], Disaster.NETWORK_PARTITION),
        ([failed("api", FailureType.NETWORK_PARTITION)], Disaster.NETWORK_PARTITION),
        ([failed("orders-db", DATABASE)], Disaster.DATABASE_OUTAGE),
        ([failed("orders-db", DATABASE, ErrorClass.PROTOCOL)], Disaster.DATABASE_CORRUPTION),
        ([backup_failed("orders", Why.SOURCE)], Disaster.DATABASE_CORRUPTION),
        ([broken("orders", Stage.CONTENT)], Disaster.DATABASE_CORRUPTION),
        ([failed("search", FailureType.STORAGE)], Disaster.STORAGE_FAILURE),
        ([backup_failed("orders", Why.CAPACITY)], Disaster.STORAGE_FAILURE),
        ([failed("api"), escalated("api")], Disaster.UNKNOWN),
    ],
    ids=lambda one: one.value if isinstance(one, Disaster) else "",
)
def test_every_class_is_told_by_what_shows_it(events: list[Event], expected: Disaster) -> None:
    assert classes(*events) == [expected]


def test_an_attack_is_told_beside_how_much_of_the_system_it_took() -> None:
    """Logins that are refused everywhere, and backups that cannot be opened, make it surer."""
    refused = [failed(name, FailureType.ERROR_RATE, AUTH) for name in ("api", "web")]
    without = classify(observed(*refused), WIDE)
    with_backups = classify(observed(*refused, broken("orders", Stage.ENCRYPTION)), WIDE)

    expected = [Disaster.PARTIAL_CLUSTER_FAILURE, Disaster.CYBER_ATTACK]
    assert [one.disaster for one in without] == [one.disaster for one in with_backups] == expected
    assert with_backups[1].confidence > without[1].confidence
    assert with_backups[1].affected == ("api", "orders", "web")


def test_what_recovery_could_not_repair_is_surer_to_be_an_outage() -> None:
    """And the events that say so are named."""
    down = failed("orders-db", DATABASE)
    (before,) = classify(observed(down), WIDE)
    (after,) = classify(observed(down, escalated("orders-db", DATABASE)), WIDE)

    assert (before.disaster, after.disaster) == (Disaster.DATABASE_OUTAGE,) * 2
    assert before.confidence == 0.6
    assert after.confidence == 0.92
    assert [one.events for one in after.evidence] == [(1,), (2,)]


@pytest.mark.parametrize(
    "events",
    [
        [],
        [failed("api")],
        [failed("somebody-elses"), failed("another")],
        [differing("api")],
        [broken("orders", Stage.CONTENT, conclusive=False)],
        [broken("orders", Stage.ENCRYPTION)],
        [backup_failed("orders", Why.CONNECTION)],
        [escalated("api")],
    ],
)
def test_what_may_have_a_lesser_cause_is_no_disaster(events: list[Event]) -> None:
    """One component, one vantage, one verification that could not be carried out."""
    assert classes(*events) == []


@st.composite
def a_window(draw: st.DrawFn) -> list[Event]:
    """Anything that can be said about these components, in any order."""
    name = st.sampled_from(NAMES)
    kind = st.sampled_from([FailureType.ERROR_RATE, DATABASE, FailureType.STORAGE, FailureType.NETWORK_PARTITION])
    event = st.one_of(
        st.builds(failed, name, kind, st.sampled_from([ErrorClass.REFUSED, AUTH, ErrorClass.PROTOCOL])),
        st.builds(cleared, name, kind),
        st.builds(escalated, name, kind),
        st.builds(differing, name),
        st.builds(agreeing, name),
        st.builds(backup_failed, name, st.sampled_from(Why)),
        st.builds(backup_completed, name),
        st.builds(broken, name, st.sampled_from(Stage), conclusive=st.booleans()),
        st.builds(verified, name),
    )
    return draw(st.lists(event, max_size=14))


@given(a_window(), st.data())
def test_the_same_window_gives_the_same_answer_however_it_is_read(events: list[Event], data: st.DataObject) -> None:
    """Replayed out of order, and with events delivered twice."""
    window = observed(*events)
    again = data.draw(st.permutations([*window, *(data.draw(st.lists(st.sampled_from(window))) if window else [])]))

    assert classify(again, WIDE) == classify(window, WIDE)
    assert classify(window, tuple(reversed(WIDE))) == classify(window, WIDE)


@given(a_window())
def test_every_finding_stands_on_events_of_the_window(events: list[Event]) -> None:
    window = observed(*events)
    sequences = {one.sequence for one in window}
    found = classify(window, WIDE)

    for one in found:
        assert one.evidence
        assert one.affected
        assert 0.0 < one.confidence <= 1.0
        for evidence in one.evidence:
            assert evidence.events
            assert set(evidence.events) <= sequences
    assert len({one.disaster for one in found}) == len(found)
    assert sum(one.disaster in EXTENT for one in found) <= 1
    assert Disaster.UNKNOWN not in [one.disaster for one in found[1:]]


@given(a_window())
def test_when_all_is_well_again_nothing_is_left(events: list[Event]) -> None:
    well: list[Event] = []
    for name in NAMES:
        well += [cleared(name, kind) for kind in FailureType]
        well += [agreeing(name), backup_completed(name), verified(name)]

    assert classify(observed(*events, *well), WIDE) == ()


@given(a_window(), st.sampled_from(NAMES))
def test_one_more_failure_never_makes_a_disaster_smaller(events: list[Event], name: str) -> None:
    more = [*events, failed(name)]

    assert _extent(classify(observed(*events), WIDE)) <= _extent(classify(observed(*more), WIDE))


def _extent(found: tuple[Finding, ...]) -> int:
    return max((EXTENT.get(one.disaster, 0) for one in found), default=0)
