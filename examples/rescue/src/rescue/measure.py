"""What one rescue took, from the events and from the application's own ledger. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from orders.ledger import Acknowledged, outages

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from yaoki.events.runs import RunFinished


class Rescue(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one incident. All durations in seconds from the kill.

    Attributes:
        victim: What was killed.
        detection_s: Until FailureDetected was published.
        recovery_s: Until the recovery run was finished, its result verified by a fresh probe.
        unavailability_s: The longest time in which the application acknowledged no write.
        attempts: Actions that were begun, in order, each with its result.
        run_id: The recovery run.
    """

    victim: str
    detection_s: float
    recovery_s: float
    unavailability_s: float
    attempts: tuple[str, ...]
    run_id: str


def unavailability(entries: Sequence[Acknowledged], since: datetime, until: datetime) -> float:
    """The longest gap between acknowledged writes that touches the time from `since` to `until`."""
    touching = [gap for gap in outages(entries, 0.0) if gap.ended >= since and gap.began <= until]
    return max((gap.seconds for gap in touching), default=0.0)


def attempts(run: RunFinished) -> tuple[str, ...]:
    """One line for each action of the chain: its name and how it ended."""
    branches: dict[str, str] = {}
    for step in run.steps:
        if branches.get(step.branch) in (None, "succeeded", "skipped"):
            branches[step.branch] = str(step.status)
    return tuple(f"{branch}: {status}" for branch, status in branches.items())
