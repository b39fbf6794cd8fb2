"""The promise about synchronous standbys is kept at every step of every transition."""

from itertools import chain, combinations

from health_probe.agent.durability import (
    ASYNCHRONOUS,
    Change,
    Membership,
    Quorum,
    covers,
    observe,
    parse_setting,
    present,
    setting_text,
    transition,
    wanted_quorum,
)
from hypothesis import given
from hypothesis import strategies as st

NAMES = ("pg-b", "pg-c", "pg-d", "pg-e")


@st.composite
def quorums(draw: st.DrawFn) -> Quorum:
    names = tuple(sorted(draw(st.sets(st.sampled_from(NAMES)))))
    required = draw(st.integers(0, len(names)))
    return Quorum(names, required) if required else ASYNCHRONOUS


def kept(setting: Quorum, promise: Quorum) -> bool:
    """By enumeration: any n - k + 1 promised members meet any acknowledging set. No promise is always kept."""
    if not promise.required:
        return True
    readers = combinations(promise.names, len(promise.names) - promise.required + 1)
    writers = list(combinations(setting.names, setting.required))
    return all(set(reader) & set(writer) for reader in readers for writer in writers)


@given(setting=quorums(), promise=quorums())
def test_covers_is_what_enumeration_says(setting: Quorum, promise: Quorum) -> None:
    """The arithmetic rule and the definition agree."""
    assert covers(setting, promise) == kept(setting, promise)


@given(setting=quorums(), promise=quorums(), wanted=quorums())
def test_every_transition_keeps_the_promise_after_each_step(setting: Quorum, promise: Quorum, wanted: Quorum) -> None:
    """Interrupted anywhere, the record promises no more than the old or new setting keeps."""
    if not kept(setting, promise):
        promise = ASYNCHRONOUS
    for change in transition(setting, promise, wanted):
        if change is Change.SETTING:
            setting = wanted
        else:
            promise = wanted if change is Change.PROMISE else ASYNCHRONOUS
        assert kept(setting, promise), (change, setting, promise)
    assert (setting, promise) == (wanted, wanted)


@given(quorum=quorums())
def test_the_setting_reads_back(quorum: Quorum) -> None:
    """What is written into PostgreSQL is understood again."""
    assert parse_setting(setting_text(quorum)) == quorum


def test_a_setting_of_somebody_else_promises_nothing() -> None:
    """FIRST and bare lists mean other things; taking them for ours would promise too much."""
    assert {parse_setting(text) for text in ("FIRST 1 (a)", "a, b", "*", "", "ANY x (a)")} == {ASYNCHRONOUS}


def test_a_standby_that_is_briefly_away_still_counts() -> None:
    """Durability is given up only after the grace."""
    setting = Quorum(("pg-b",), 1)
    gone = observe(Membership(), ["pg-b"], [], now=10.0)
    assert present(gone, setting, [], grace_s=3.0, now=12.9) == {"pg-b"}
    gone = observe(gone, ["pg-b"], [], now=13.0)
    assert present(gone, setting, [], grace_s=3.0, now=13.0) == frozenset()
    assert wanted_quorum(1, frozenset()) == ASYNCHRONOUS


def test_fewer_standbys_than_configured_all_have_to_acknowledge() -> None:
    """Two wanted and one there: that one."""
    assert wanted_quorum(2, ["pg-c"]) == Quorum(("pg-c",), 1)
    assert wanted_quorum(1, ["pg-c", "pg-b"]) == Quorum(("pg-b", "pg-c"), 1)


def test_all_small_transitions_are_covered() -> None:
    """The enumeration above really meets all three orders of steps."""
    subsets = list(chain.from_iterable(combinations(NAMES[:2], n) for n in range(3)))
    found = {
        transition(Quorum(a, min(1, len(a))), Quorum(a, min(1, len(a))), Quorum(b, min(1, len(b))))
        for a in subsets
        for b in subsets
    }
    assert (Change.PROMISE, Change.SETTING) in found
    assert (Change.SETTING, Change.PROMISE) in found
    assert (Change.NO_PROMISE, Change.SETTING, Change.PROMISE) in found
