"""The ledger remembers exactly what was acknowledged."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st
from orders.ledger import Acknowledged, Ledger, outages, read_ledger

if TYPE_CHECKING:
    from pathlib import Path

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def acknowledged(after_s: float) -> Acknowledged:
    return Acknowledged(key=uuid4(), at=BEGIN + timedelta(seconds=after_s), attempts=1, waited_s=0.0)


def test_what_was_recorded_is_read_back(tmp_path: Path) -> None:
    """Across two openings of the file."""
    file = tmp_path / "ledger"
    entries = [acknowledged(1), acknowledged(2)]
    for entry in entries:
        with Ledger(file) as ledger:
            ledger.record(entry)

    assert read_ledger(file) == entries


def test_a_line_torn_by_a_kill_does_not_count(tmp_path: Path) -> None:
    """It was never acknowledged to anybody."""
    file = tmp_path / "ledger"
    with Ledger(file) as ledger:
        ledger.record(acknowledged(1))
        ledger.record(acknowledged(2))
    file.write_bytes(file.read_bytes()[:-5])

    assert len(read_ledger(file)) == 1


def test_an_outage_is_a_gap_between_neighbours() -> None:
    """Only gaps over the limit count, whatever order the lines are in."""
    entries = [acknowledged(9), acknowledged(0), acknowledged(1), acknowledged(5)]

    found = outages(entries, 2.0)

    assert [gap.seconds for gap in found] == [4.0, 4.0]
    assert found[0].began == BEGIN + timedelta(seconds=1)


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=50))
def test_all_gaps_together_span_the_whole_time(seconds: list[int]) -> None:
    """No time is counted twice and none is left out."""
    entries = [acknowledged(one) for one in seconds]

    assert sum(gap.seconds for gap in outages(entries, 0.0)) == max(seconds) - min(seconds)
