"""Whatever happens in whatever order, automation keeps within its limits."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recovery.auditing import TakeUpAgain, TellPeople, audit
from recovery.guard_book import OpenFailure
from recovery.guards import HOUR, Brake, Go, Paused, Snapshot, Wait, decide_guard, next_brake, too_many
from yaoki.commands.recovery import RunView
from yaoki.config import GuardSettings

from .builders import T0, failure

SETTINGS = GuardSettings()


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def failed(count: int) -> frozenset[str]:
    return frozenset(f"target-{index}" for index in range(count))


def verdict(snapshot: Snapshot | None = None, *, earlier: tuple[float, ...] = (), now: float = 0.0) -> Go | Wait:
    return decide_guard(
        SETTINGS,
        snapshot or Snapshot(targets=100),
        target="orders-db",
        earlier=[at(seconds) for seconds in earlier],
        now=at(now),
    )


@given(
    settings=st.builds(
        GuardSettings,
        runs_per_hour=st.integers(1, 6),
        pause=st.floats(0, 600),
        longest_pause=st.floats(0, 1200),
    ),
    steps=st.lists(st.floats(0, 1800), min_size=1, max_size=40),
)
def test_limit_and_pauses_hold_in_any_sequence(settings: GuardSettings, steps: list[float]) -> None:
    """A failure arrives after each step; the runs that were let through are counted over every hour."""
    began: list[datetime] = []
    now = T0
    for step in steps:
        now += timedelta(seconds=step)
        found = decide_guard(settings, Snapshot(targets=100), target="a", earlier=began, now=now)
        if isinstance(found, Go):
            recent = [one for one in began if now - one < HOUR]
            assert len(recent) < settings.runs_per_hour
            if recent:
                pause = min(settings.longest_pause, settings.pause * 2 ** (len(recent) - 1))
                assert (now - recent[-1]).total_seconds() >= pause - 1e-6
            began.append(now)
        elif found.until is not None:
            assert found.until > now
            later = decide_guard(settings, Snapshot(targets=100), target="a", earlier=began, now=found.until + HOUR)
            assert isinstance(later, Go)


@given(
    changes=st.lists(st.tuples(st.floats(0.1, 120), st.integers(0, 100)), min_size=1, max_size=40),
    targets=st.integers(1, 100),
)
def test_the_brake_holds_while_too_many_have_failed_and_for_its_time_after(
    changes: list[tuple[float, int]], targets: int
) -> None:
    """The brake is what `next_brake` made of it, as instances keep it."""
    brake: Brake | None = None
    now, over_until = T0, None
    for step, count in changes:
        now += timedelta(seconds=step)
        snapshot = Snapshot(failed=failed(min(count, targets)), targets=targets, brake=brake)
        brake = next_brake(SETTINGS, snapshot, now)
        snapshot = msgspec.structs.replace(snapshot, brake=brake)
        found = decide_guard(SETTINGS, snapshot, target="fresh", earlier=(), now=now)
        if too_many(SETTINGS, snapshot):
            over_until = None
            assert isinstance(found, Wait)
        elif over_until is None and brake is not None:
            over_until = now + timedelta(seconds=SETTINGS.brake_for)
        if over_until is not None and not too_many(SETTINGS, snapshot):
            assert isinstance(found, Wait) == (now < over_until)
        if brake is None:
            assert isinstance(found, Go)


@pytest.mark.parametrize(
    ("count", "targets", "expected"),
    [(9, 100, False), (10, 100, True), (5, 10, True), (4, 10, False), (5, 6, False), (1, 1, False)],
)
def test_too_many_is_a_number_or_a_share_of_many(count: int, targets: int, *, expected: bool) -> None:
    """Of a handful of targets a share says nothing."""
    assert too_many(SETTINGS, Snapshot(failed=failed(count), targets=targets)) is expected


def test_pauses_grow_and_the_limit_ends_them() -> None:
    """30 s, 60 s, 120 s; the fifth run within an hour waits for the first to be an hour old."""
    assert isinstance(verdict(), Go)
    for earlier, until in [((0,), 30), ((0, 30), 90), ((0, 30, 90), 210)]:
        waits = verdict(earlier=tuple(map(float, earlier)), now=until - 1)
        assert isinstance(waits, Wait)
        assert (waits.guard, waits.until) == ("pause", at(until))
        assert not waits.calls_people
        assert isinstance(verdict(earlier=tuple(map(float, earlier)), now=until), Go)
    limit = verdict(earlier=(0.0, 30.0, 90.0, 210.0), now=1000)
    assert isinstance(limit, Wait)
    assert (limit.guard, limit.until, limit.calls_people) == ("limit", at(3600), True)
    assert isinstance(verdict(earlier=(0.0, 30.0, 90.0, 210.0), now=3600), Go)


def test_nothing_is_done_for_what_goes_up_and_down() -> None:
    """Other targets are not concerned."""
    flapping = verdict(Snapshot(targets=100, flapping=frozenset({"orders-db"})))
    other = verdict(Snapshot(targets=100, flapping=frozenset({"orders-api"})))

    assert isinstance(flapping, Wait)
    assert flapping.guard == "flapping"
    assert isinstance(other, Go)


@pytest.mark.parametrize("scope", ["", "orders-db"])
def test_a_pause_holds_until_its_time_or_until_it_is_resumed(scope: str) -> None:
    """And calls nobody: a person wanted it."""
    for until, now, holds in [(None, 1e6, True), (at(60), 59, True), (at(60), 60, False)]:
        paused = {scope: Paused(by="alice", reason="moving racks", since=T0, until=until)}
        found = verdict(Snapshot(targets=100, paused=paused), now=now)
        assert isinstance(found, Wait) is holds
        if isinstance(found, Wait):
            assert "alice: moving racks" in found.reason
            assert not found.calls_people
    elsewhere = {"orders-api": Paused(by="alice", since=T0)}
    assert isinstance(verdict(Snapshot(targets=100, paused=elsewhere)), Go)


def view(status: str) -> RunView:
    return RunView(
        run_id="run-1", run_kind="recovery", resource="orders", plan="database_connection", status=status, started_at=T0
    )


@pytest.mark.parametrize(
    ("status", "waiting", "told", "age_s", "expected"),
    [
        ("", False, (), 30, None),
        ("", False, (), 61, TakeUpAgain),
        ("", True, (), 61, None),
        ("", False, ("people",), 61, None),
        ("running", False, (), 9999, None),
        ("paused", False, (), 9999, None),
        ("waiting", False, (), 9999, None),
        ("exhausted", False, (), 9999, None),
        ("completed", False, (), 61, None),
        ("completed", False, (), 241, TellPeople),
        ("cancelled", False, (), 61, TellPeople),
        ("error", False, (), 61, TellPeople),
    ],
)
def test_every_open_failure_has_a_next_step(
    status: str, told: tuple[str, ...], age_s: float, expected: type | None, *, waiting: bool
) -> None:
    """A run, a reason to wait, or a person; else the auditor gives it one."""
    one = OpenFailure(failure=failure(), sequence=7, since=T0, told=told)

    found = audit(one, run=view(status) if status else None, waiting=waiting, soak_s=180.0, now=at(age_s))

    assert type(found) is (expected or type(None))
