"""The monthly report: its parts add up, in any zone, and what people typed stays text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from health_probe.slo.figures import percent
from health_probe.slo.markdown import markdown
from health_probe.slo.minutes import Day
from health_probe.slo.moments import DAY_MINUTES, minute_of
from health_probe.slo.page import page
from health_probe.slo.report import Material, report
from health_probe.slo.responses import measured
from hypothesis import given, settings
from hypothesis import strategies as st
from yaoki.config import ServiceLevel
from yaoki.maintenance import MaintenanceWindow

if TYPE_CHECKING:
    from yaoki.commands.slo import SlaReport

FIRST_DAY = minute_of(datetime(2026, 9, 30, tzinfo=UTC)) // DAY_MINUTES
LEVEL = ServiceLevel(targets=("a", "b"))


def made(states: list[bytes], zone: str, reason: str = "disk") -> SlaReport:
    days = [
        Day(day=FIRST_DAY + number).decided(
            (seen * DAY_MINUTES)[:DAY_MINUTES], list(range(60)), measured(number, 100.0 * number)
        )
        for number, seen in enumerate(states)
    ]
    begin = datetime(2026, 10, 9, 17, tzinfo=UTC)
    window = MaintenanceWindow(
        window_id="w",
        start=begin,
        end=begin + timedelta(hours=1),
        announced_at=begin - timedelta(days=3),
        announced_by="ada",
        reason=reason,
    )
    material = Material(
        service="orders",
        level=LEVEL,
        zone=zone,
        now=datetime(2026, 11, 1, tzinfo=UTC),
        days={"a": days, "b": days[3:]},
        windows={"a": [window]},
    )
    return report(material, "2026-10")


patterns = st.lists(
    st.binary(min_size=1, max_size=9).map(lambda raw: bytes(1 + byte % 3 for byte in raw)), min_size=4, max_size=33
)


@settings(max_examples=25)
@given(patterns, st.sampled_from(["Asia/Tokyo", "UTC", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe"]))
def test_days_and_picture_add_up_to_the_month(states: list[bytes], zone: str) -> None:
    """No minute and no response of the month is missing from its days or from its picture, or in them twice."""
    figures = made(states, zone)

    for name in ("up", "down", "maintenance", "unknown"):
        total = getattr(figures.minutes, name)
        assert sum(getattr(day.minutes, name) for day in figures.days) == total
        assert sum(run.minutes for run in figures.runs if run.state == name) == total
    assert figures.raw_minutes.maintenance == 0
    assert figures.budget_used == figures.minutes.down + figures.minutes.unknown
    if figures.complete:
        assert figures.met == (figures.budget_used <= figures.budget_minutes)


def test_what_people_typed_stays_text() -> None:
    """A reason is no markup and no table."""
    figures = made([b"\1"] * 33, "UTC", reason="<script>alert(1)</script> | a\nb")

    assert "<script>" not in page(figures)
    assert "&lt;script&gt;" in page(figures)
    assert "&lt;script>alert(1)&lt;/script> \\| a b |" in markdown(figures)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (99.49999999, "99.4999 %"),
        (99.5, "99.5 %"),
        (100.0, "100 %"),
        (98.99999999, "98.9999 %"),
        (None, "not measured"),
    ],
)
def test_a_missed_goal_never_looks_kept(value: float | None, words: str) -> None:
    """Figures are rounded down."""
    assert percent(value) == words
