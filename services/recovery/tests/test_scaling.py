"""How many instances there should be."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recovery.scaling import Direction, Load, ScaleTo, Stay, decide_scale
from yaoki.config import Scaling

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
