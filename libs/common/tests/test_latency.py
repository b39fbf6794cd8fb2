"""The latency histogram: its error is bounded, and it adds up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from yaoki.latency import GROWTH, HIGHEST, bucket_of, merged, quantile, upper_bound

durations = st.floats(0.0, 8e7, allow_nan=False)


def histogram(values: list[float]) -> dict[int, int]:
    return merged({bucket_of(value): 1} for value in values)


@given(durations)
def test_a_duration_lies_within_its_bucket(value: float) -> None:
    bucket = bucket_of(value)

    assert value <= upper_bound(bucket) * (1 + 1e-8)
    assert bucket == 0 or value > upper_bound(bucket - 1)


@given(st.integers(0, HIGHEST))
def test_an_upper_bound_belongs_to_its_own_bucket(bucket: int) -> None:
    assert bucket_of(upper_bound(bucket)) == bucket


@given(st.lists(durations), st.lists(durations))
def test_the_sum_of_two_histograms_is_the_histogram_of_all(some: list[float], more: list[float]) -> None:
    assert merged([histogram(some), histogram(more)]) == histogram(some + more)


@given(st.lists(durations, min_size=1), st.floats(0.01, 1.0))
def test_a_quantile_is_never_too_low_and_at_most_one_bucket_too_high(values: list[float], share: float) -> None:
    rank = next(i for i in range(1, len(values) + 1) if i >= share * len(values))
    exact = max(sorted(values)[rank - 1], 1.0)

    estimate = quantile(histogram(values), share)

    assert estimate is not None
    assert exact <= estimate * (1 + 1e-8)
    assert estimate <= exact * GROWTH * (1 + 1e-8)


def test_what_cannot_be_measured_is_in_the_first_or_the_last_bucket() -> None:
    assert [bucket_of(value) for value in (-1.0, float("nan"), float("inf"), 1e300)] == [0, 0, HIGHEST, HIGHEST]
    assert quantile({}, 0.95) is None
