"""Thresholds over a window: the invariants of `health_probe.windows`, for any samples."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from health_probe.probes import KINDS
from health_probe.windows import COVERAGE, Sample, SampleBuffer, summarise
from hypothesis import given
from hypothesis import strategies as st

LENGTH = 300.0
NOW = 10_000.0
LIMIT = 90.0

instants = st.floats(NOW - 2 * LENGTH, NOW + 60, allow_nan=False)
percents = st.floats(0, 100, allow_nan=False)
samples = st.lists(st.builds(Sample, instants, percents), max_size=60)


def dense(values: list[float]) -> list[Sample]:
    """Samples evenly over the whole window."""
    step = LENGTH / len(values)
    first = Sample(NOW - LENGTH, values[0])
    return [first, *(Sample(NOW - LENGTH + (i + 1) * step, value) for i, value in enumerate(values))]


@given(samples)
def test_the_mean_lies_between_the_smallest_and_the_largest(some: list[Sample]) -> None:
    window = summarise(some, now=NOW, length_s=LENGTH)

    assert 0.0 <= window.covered_s <= LENGTH + 1e-6
    if window.mean is not None:
        values = [sample.value for sample in some]
        assert min(values) <= window.mean <= max(values)


@given(samples, st.randoms())
def test_order_and_repetition_of_samples_do_not_matter(some: list[Sample], random: object) -> None:
    shuffled = [*some, *some[:3]]
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis types it as object

    before, after = (summarise(list_, now=NOW, length_s=LENGTH) for list_ in (some, shuffled))

    assert (before.mean is None) == (after.mean is None)
    assert after.covered_s == pytest.approx(before.covered_s)


@given(samples)
def test_nothing_is_exceeded_without_coverage_or_without_a_sample_above(some: list[Sample]) -> None:
    window = summarise(some, now=NOW, length_s=LENGTH)

    if window.exceeds(LIMIT):
        assert window.covered_s >= COVERAGE * LENGTH
        assert any(sample.value > LIMIT for sample in some)


@given(st.lists(st.floats(LIMIT, 100, exclude_min=True), min_size=2, max_size=40))
def test_a_covered_window_whose_samples_are_all_above_is_exceeded(values: list[float]) -> None:
    assert summarise(dense(values), now=NOW, length_s=LENGTH).exceeds(LIMIT)


@given(st.lists(st.floats(0, LIMIT), min_size=2, max_size=40))
def test_a_covered_window_whose_samples_only_touch_the_limit_is_not(values: list[float]) -> None:
    window = summarise(dense(values), now=NOW, length_s=LENGTH)

    assert window.complete
    assert not window.exceeds(LIMIT)


@given(
    st.lists(st.builds(Sample, instants, percents), min_size=1, max_size=60, unique_by=lambda one: one.at),
    st.integers(0, 59),
    st.floats(0, 50),
)
def test_raising_a_value_never_turns_exceeded_into_not_exceeded(some: list[Sample], at: int, more: float) -> None:
    chosen = some[at % len(some)]
    raised = [Sample(s.at, s.value + more) if s is chosen else s for s in some]

    before, after = (summarise(list_, now=NOW, length_s=LENGTH) for list_ in (some, raised))

    assert after.covered_s == before.covered_s
    if before.mean is not None and after.mean is not None:
        assert after.mean >= before.mean - 1e-9


def test_one_sample_does_not_stand_for_a_night_without_probes() -> None:
    night = [Sample(NOW - 9 * 3600, 5.0), Sample(NOW, 100.0)]

    window = summarise(night, now=NOW, length_s=LENGTH)

    assert window.covered_s == LENGTH / 2
    assert not window.exceeds(LIMIT)


def test_a_buffer_forgets_what_can_no_longer_count() -> None:
    buffer = SampleBuffer(LENGTH)
    for second in range(0, 7200, 10):
        buffer.add(Sample(float(second), 100.0 if second < 3600 else 1.0))
    window = buffer.add(Sample(7200.0, 1.0))

    assert window.mean == 1.0
    assert len(buffer._samples) <= 2 * LENGTH / 10 + 1  # noqa: SLF001 - that it does not grow is what is tested


@pytest.mark.parametrize(
    ("target", "limit"),
    [
        ({"kind": "memory"}, 90.0),
        ({"kind": "cpu"}, 90.0),
        ({"kind": "disk", "path": "/var"}, 95.0),
        ({"kind": "metric", "application": "shop", "measure": "error_rate"}, 0.10),
        ({"kind": "metric", "application": "shop", "measure": "response_time"}, 2000.0),
    ],
    ids=lambda value: value.get("measure", value["kind"]) if isinstance(value, dict) else "",
)
def test_what_is_configured_with_nothing_but_its_kind_has_the_promised_limit_over_five_minutes(
    target: dict[str, Any], limit: float
) -> None:
    kind = next(kind.target for kind in KINDS if kind.target.__struct_config__.tag == target["kind"])
    settings: Any = msgspec.convert(target, kind)
    in_force = settings.threshold if target["kind"] == "metric" else settings.limit

    assert (in_force, settings.window, settings.unhealthy_after) == (limit, LENGTH, 1)
    assert not summarise(dense([in_force] * 10), now=NOW, length_s=settings.window).exceeds(in_force)
    assert summarise(dense([in_force * 1.001] * 10), now=NOW, length_s=settings.window).exceeds(in_force)
