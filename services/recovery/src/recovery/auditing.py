"""Whether every open failure has a next step: a run, a reason to wait, or a person. Pure."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from recovery.guard_book import PEOPLE

if TYPE_CHECKING:
    from datetime import datetime

    from yaoki.commands.recovery import RunView

    from recovery.guard_book import OpenFailure

GRACE = timedelta(seconds=60)
_UNFINISHED = frozenset({"running", "waiting", "paused"})
_REPAIRED = frozenset({"completed", "completed_with_skips"})
_TOLD = frozenset({"exhausted", "rolled_back", "rollback_failed", "failed_no_rollback", "verification_failed"})
"""Endings whose run has called people by itself, as its last step."""


class TakeUpAgain(msgspec.Struct, frozen=True):
    """The failure was lost between its detection and its run."""


class TellPeople(msgspec.Struct, frozen=True):
    """Automation has stopped, and nobody knows; the sentence says how."""

    reason: str


def audit(
    failure: OpenFailure, *, run: RunView | None, waiting: bool, soak_s: float, now: datetime
) -> TakeUpAgain | TellPeople | None:
    """What an open failure lacks; None when it has a next step.

    Args:
        failure: As noted when it was taken up.
        run: Of its incident, if there is one.
        waiting: It is kept for later.
        soak_s: So long after a repair its clearing may still come.
        now: UTC.
    """
    age = now - failure.since
    if waiting or PEOPLE in failure.told or age < GRACE:
        return None
    if run is None:
        return TakeUpAgain()
    if run.status in _UNFINISHED or run.status in _TOLD:
        return None
    if run.status in _REPAIRED:
        if age < GRACE + timedelta(seconds=soak_s):
            return None
        return TellPeople(f"run {run.run_id} verified a repair, but the failure was never cleared; look at its probes")
    return TellPeople(f"run {run.run_id} ended {run.status}, and the failure is still there")
