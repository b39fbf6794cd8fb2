"""Everybody finds the same one, and as little as possible moves when somebody comes or goes."""

from __future__ import annotations

from collections import Counter

from health_probe.rendezvous import chosen
from health_probe.roster import Member, Roster
from hypothesis import given
from hypothesis import strategies as st

names = st.sets(st.text("abcdefgh-0123456789", min_size=1, max_size=12), min_size=1, max_size=8)
keys = st.sets(st.text("abcdefgh-0123456789", min_size=1, max_size=12), max_size=40)
members = st.frozensets(st.builds(Member, st.sampled_from(["tokyo", "osaka"]), st.sampled_from("abcdef")), max_size=8)
places = st.lists(st.sampled_from(["tokyo", "osaka"]), unique=True, min_size=1).map(tuple)


@given(names, keys, st.randoms(use_true_random=False))
def test_the_choice_depends_on_who_is_there_and_not_on_their_order(
    found: set[str], of: set[str], random: object
) -> None:
    shuffled = sorted(found)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # a random.Random
    assert all(chosen(key, sorted(found)) == chosen(key, shuffled) for key in of)


@given(names, keys)
def test_whoever_leaves_moves_its_own_keys_and_no_other(found: set[str], of: set[str]) -> None:
    gone = min(found)
    for key in of:
        before, after = chosen(key, found), chosen(key, found - {gone})
        assert before in (gone, after)


@given(names, keys)
def test_whoever_comes_takes_keys_and_moves_none_between_others(found: set[str], of: set[str]) -> None:
    for key in of:
        before, after = chosen(key, found), chosen(key, found | {"zz"})
        assert after in (before, "zz")


def test_nobody_is_chosen_out_of_nobody() -> None:
    assert chosen("cache", []) is None


def test_shares_are_about_even() -> None:
    shares = Counter(chosen(f"target-{number}", ["a", "b", "c", "d"]) for number in range(4000))
    assert all(800 <= share <= 1200 for share in shares.values())


@given(members, st.dictionaries(st.sampled_from(["db", "cache", "api"]), places))
def test_each_target_has_one_owner_a_vantage_and_one_judge_among_them(
    alive: frozenset[Member], vantages: dict[str, tuple[str, ...]]
) -> None:
    """One that nobody watches any more is judged by somebody else: its last verdict must not stand for ever."""
    roster = Roster(alive)
    for target, where in vantages.items():
        owners = [member for member in alive if target in roster.owned(member, vantages)]
        judges = [member for member in alive if target in roster.presided(member, vantages)]

        manned = {member.vantage for member in alive} & set(where)
        assert sorted(owner.vantage for owner in owners) == sorted(manned)
        assert len(judges) == (1 if alive else 0)
        assert not manned or set(judges) <= set(owners)


@given(members, places)
def test_a_question_goes_to_a_prober_that_looks_from_there_and_does_not_watch_if_there_is_one(
    alive: frozenset[Member], where: tuple[str, ...]
) -> None:
    roster = Roster(alive)
    watching = roster.owners("db", where)
    idle = {member for member in alive if member.vantage in where} - set(watching)
    for me in alive:
        best = roster.checker("db", where, me)
        if idle:
            assert best in idle
        elif watching:
            assert best in watching
        else:
            assert best is None
