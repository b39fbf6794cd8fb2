"""What may hold disruptive branches of a run back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from datetime import datetime

    from yaoki.runs.decisions import Hold
    from yaoki.runs.state import RunState


class Gate(Protocol):
    """Asked before every decision, so it answers at once, from memory."""

    def __call__(self, run: RunState, now: datetime, /) -> Hold | None:
        """Why disruptive branches of this run must not begin now; None when they may. Not knowing is a hold."""
        ...


def open_gate(_run: RunState, _now: datetime, /) -> Hold | None:
    """Nothing is ever held."""
    return None
