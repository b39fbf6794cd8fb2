"""How many instances there should be."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recovery.scaling import Direction, Load, ScaleTo, Stay, Watched, decide_scale, watch
from yaoki.config import LoadQueries, Scaling

from .builders import T0

if TYPE_CHECKING:
    from datetime import datetime


def scaling(tier: str = "backend", **changes: float) -> Scaling:
    return Scaling(kubernetes="shop", deployment="shop/orders", tier=tier, **changes)  # type: ignore[arg-type]  # one of the tiers, numbers


def decide(
    current: int,
    direction: Direction,
    load: Load | None = None,
    *,
    settings: Scaling | None = None,
    changed: datetime | None = None,
) -> int | None:
    """The number that is ordered; None when nothing is."""
    found = decide_scale(
        settings or scaling(), current=current, direction=direction, load=load or Load(), changed=changed, now=T0
    )
    return found.instances if isinstance(found, ScaleTo) else None


@given(
    current=st.integers(0, 50),
    direction=st.sampled_from(["out", "in"]),
    cpu=st.none() | st.floats(0, 1000),
    requests=st.none() | st.floats(0, 1e6),
    age_s=st.none() | st.floats(0, 1000),
    tier=st.sampled_from(["frontend", "backend"]),
)
def test_limits_cooldown_and_ignorance(
    *, current: int, direction: Direction, cpu: float | None, requests: float | None, age_s: float | None, tier: str
) -> None:
    """The invariants of `decide_scale`."""
    settings = scaling(tier)
    changed = None if age_s is None else T0 - timedelta(seconds=age_s)
    load = Load(cpu_percent=cpu, requests_per_minute=requests)

    found = decide_scale(settings, current=current, direction=direction, load=load, changed=changed, now=T0)

    fewest, most = settings.limits
    if age_s is not None and age_s < settings.cooldown - 1e-3:
        assert isinstance(found, Stay)
    if isinstance(found, ScaleTo):
        assert found.instances != current
        assert fewest <= found.instances <= most
        if found.instances < current <= most:
            assert None not in (cpu, requests)
            assert found.instances == current - 1
            assert direction == "in"


@pytest.mark.parametrize(
    ("current", "load", "expected"),
    [
        (3, Load(), 4),
        (3, Load(cpu_percent=140.0), 6),
        (3, Load(requests_per_minute=6500.0), 7),
        (3, Load(cpu_percent=70.0, requests_per_minute=100.0), 4),
        (3, Load(cpu_percent=1000.0), 8),
        (8, Load(cpu_percent=1000.0), None),
        (1, Load(), 2),
    ],
)
def test_out(current: int, load: Load, expected: int | None) -> None:
    """At least one more, as many as 70 % and 1000 requests need, at most 8."""
    assert decide(current, "out", load) == expected


@pytest.mark.parametrize(
    ("current", "load", "expected"),
    [
        (5, Load(cpu_percent=20.0, requests_per_minute=1000.0), 4),
        (5, Load(cpu_percent=60.0, requests_per_minute=1000.0), None),
        (5, Load(cpu_percent=20.0, requests_per_minute=4500.0), None),
        (5, Load(cpu_percent=20.0), None),
        (2, Load(cpu_percent=1.0, requests_per_minute=1.0), None),
        (12, Load(), 8),
    ],
)
def test_in(current: int, load: Load, expected: int | None) -> None:
    """One at a time, never below 2, never in ignorance; what is above the most goes at once."""
    assert decide(current, "in", load) == expected


def test_the_tiers_have_their_own_limits() -> None:
    """Frontend 2 to 10, backend 2 to 8; both can be set."""
    assert scaling("frontend").limits == (2, 10)
    assert scaling().limits == (2, 8)
    assert scaling(fewest=3, most=20).limits == (3, 20)
    assert decide(9, "out", settings=scaling("frontend")) == 10


def test_the_cooldown_is_five_minutes() -> None:
    """Counted from the last change."""
    assert decide(3, "out", changed=T0 - timedelta(seconds=299)) is None
    assert decide(3, "out", changed=T0 - timedelta(seconds=300)) == 4


HIGH_S, LOW_S, COOLDOWN_S = 60.0, 600.0, 300.0
FOLLOWED = Scaling(
    kubernetes="shop",
    deployment="shop/orders",
    load=LoadQueries(prometheus="http://127.0.0.1:9090", cpu="cpu", requests="requests"),
)
LOADS = st.sampled_from(
    [Load(), Load(cpu_percent=5.0), *(Load(cpu_percent=c, requests_per_minute=100.0) for c in (5.0, 40.0, 69.0, 200.0))]
)


@given(looks=st.lists(st.tuples(st.sampled_from([15.0, 60.0, 300.0]), LOADS), max_size=40), current=st.integers(1, 10))
def test_the_number_follows_a_load_that_lasts_and_nothing_else(looks: list[tuple[float, Load]], current: int) -> None:
    """A model of the deployment: every direction that is told is carried out at once, as the hand would."""
    watched, changed, at, history = Watched(), None, T0, [(T0, Load())]
    fewest, most = FOLLOWED.limits
    for pause_s, load in looks:
        at += timedelta(seconds=pause_s)
        history.append((at, load))
        watched, direction = watch(FOLLOWED, watched, current=current, load=load, changed=changed, now=at)
        if direction is None:
            continue
        lasted_s = HIGH_S if direction == "out" else LOW_S
        asked = [one for when, one in history if when >= at - timedelta(seconds=lasted_s)]
        assert changed is None or at - changed >= timedelta(seconds=COOLDOWN_S)
        assert all(_asks(one, current) == direction for one in asked)
        ordered = decide_scale(FOLLOWED, current=current, direction=direction, load=load, changed=changed, now=at)
        assert isinstance(ordered, ScaleTo)
        assert fewest <= ordered.instances <= most
        current, changed = ordered.instances, at


def _asks(load: Load, current: int) -> Direction | None:
    """As people would say it: over 70 % of a processor is too much; fewer would do when they stayed below."""
    if load.cpu_percent is not None and load.cpu_percent > FOLLOWED.cpu_target:
        return "out"
    if load.requests_per_minute is None or load.cpu_percent is None:
        return None
    return "in" if current > 1 and load.cpu_percent * current <= FOLLOWED.cpu_target * (current - 1) else None


def test_after_the_load_has_fallen_one_is_taken_away_every_ten_minutes_down_to_the_least() -> None:
    """Ten minutes of little load, not one look of it; then they are counted anew."""
    watched, changed, current, told = Watched(), None, 4, []
    for minute in range(40):
        at = T0 + timedelta(minutes=minute)
        load = Load(cpu_percent=5.0, requests_per_minute=10.0)
        watched, direction = watch(FOLLOWED, watched, current=current, load=load, changed=changed, now=at)
        if direction is not None:
            current, changed = current - 1, at
            told.append((minute, direction))

    assert told == [(10, "in"), (21, "in")]
    assert current == FOLLOWED.limits[0]


def test_what_did_not_work_is_not_tried_again_before_the_cooldown_is_over() -> None:
    """The deployment stays as it is, because the run failed."""
    watched, told = Watched(), []
    for minute in range(12):
        at = T0 + timedelta(minutes=minute)
        busy = Load(cpu_percent=200.0, requests_per_minute=10.0)
        watched, direction = watch(FOLLOWED, watched, current=4, load=busy, changed=None, now=at)
        told += [minute] if direction else []

    assert told == [1, 6, 11]
