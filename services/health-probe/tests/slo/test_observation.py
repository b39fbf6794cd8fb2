"""`observed_since`: a prober claims no more than it has seen."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

from health_probe.hysteresis import Thresholds
from health_probe.observation import Observation, extended, longest_hole
from hypothesis import given
from hypothesis import strategies as st
from yaoki.events.probe import ProbeResult, ProbeStatus

from .conftest import START

HOLE = timedelta(seconds=95)
results = st.lists(st.tuples(st.integers(0, 2000), st.sampled_from(list(ProbeStatus))), max_size=30).map(sorted)


def result(second: int, status: ProbeStatus) -> ProbeResult:
    return ProbeResult(status=status, at=START + timedelta(seconds=second), response_ms=1.0)


@given(results)
def test_no_hole_longer_than_allowed_lies_in_the_series(found: list[tuple[int, ProbeStatus]]) -> None:
    """From `since` to `last` neighbouring results are close, and none was the prober's own fault."""
    seen: Observation | None = None
    for second, status in found:
        seen = extended(seen, result(second, status), HOLE)

    real = [START + timedelta(seconds=second) for second, status in found if status is not ProbeStatus.UNKNOWN]
    assert (seen is None) == (not real)
    if seen is not None:
        series = [at for at in real if at >= seen.since]
        assert seen.last == real[-1]
        assert all(after - before <= HOLE for before, after in pairwise(series))
        earlier = [at for at in real if at < seen.since]
        assert not earlier or seen.since - earlier[-1] > HOLE


def test_the_longest_hole_is_three_intervals_and_a_timeout() -> None:
    """At the defaults 95 s, the time that a failure takes to be told at most."""
    assert longest_hole(Thresholds(interval_s=30, suspect_interval_s=5), 5.0) == HOLE
