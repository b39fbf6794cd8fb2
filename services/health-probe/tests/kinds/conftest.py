"""A clock that tests move."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest


class SettableClock:
    """See `yaoki.clock.Clock`; stands still unless a test moves it."""

    def __init__(self) -> None:
        self._now = datetime(2026, 1, 1, tzinfo=UTC)
        self._monotonic = 1000.0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        self.forward(seconds)

    def forward(self, seconds: float) -> None:
        """Let `seconds` pass."""
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()
