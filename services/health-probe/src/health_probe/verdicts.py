"""Who speaks of what in probe events, and what makes an event the same event."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from yaoki.events.probe import FailureType  # noqa: TC002 - msgspec reads the annotation at run time

if TYPE_CHECKING:
    from health_probe.records import VerdictEvent


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who speaks of what: the part of every event that does not change.

    Attributes:
        kind: Probe kind, e.g. `postgres`.
        vantage: From where this prober looks.
    """

    target: str
    kind: str
    region: str
    vantage: str
    failure_type: FailureType


def event_id(event: VerdictEvent) -> str:
    """Identity of an event, however often it is published.

    An incident has at most one of each type; of episodes that may recur within one (`since`), one for each.
    """
    since = getattr(event, "since", None)
    episode = "" if since is None else f".{since:%Y%m%dt%H%M%S%f}"
    return f"{event.incident_id}.{event.event_name()}{episode}"
