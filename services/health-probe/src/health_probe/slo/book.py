"""What this instance has seen and heard of every target, in memory and synchronous.

Every instance keeps one, so that whoever becomes the writer already holds the evidence; only the writer turns it into
minutes.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - msgspec reads the annotation at run time
from typing import TYPE_CHECKING

import msgspec
from yaoki.commands.probe import TargetHealth
from yaoki.events.probe import FailureCleared, FailureDetected, ProbeStatus

from health_probe.slo.evidence import KEPT_S, Outage, Panel, Sight, Span, Track
from health_probe.slo.moments import MINUTE_S
from health_probe.slo.responses import Responses, measured

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FailureEvent = FailureDetected | FailureCleared


class SeenHealth(TargetHealth, frozen=True, kw_only=True):
    """A health view with the moment at which its open incident began."""

    first_failed_at: datetime | None = None


class Late(msgspec.Struct, frozen=True):
    """Evidence about minutes that may be decided already.

    Attributes:
        span: Seconds that it speaks of.
        cause: Incident or vantage that it comes from.
    """

    span: Span
    cause: str


class TargetEvidence:
    """All evidence about one target.

    Args:
        patience_s: How far apart two of its results may be; later than that none is expected any more.
        panel: Whose views count.
    """

    def __init__(self, patience_s: float, panel: Panel) -> None:
        self.patience_s = patience_s
        self.panel = panel
        self.tracks: dict[str, Track] = {}
        self.outages: dict[str, Outage] = {}
        self.samples: dict[int, Responses] = {}
        self.late: list[Late] = []
        self.changed_outages: set[str] = set()

    def see(self, vantage: str, sight: Sight, response_ms: float) -> None:
        """Take a view in; one that is known already changes nothing, nor does one from anywhere else."""
        if vantage not in self.panel.vantages:
            return
        before = self.tracks.get(vantage, Track())
        track = before.seeing(sight, self.patience_s)
        if track is before:
            return
        self.tracks[vantage] = track
        self.late.append(Late(_news(before, track, sight), vantage))
        minute = int(sight.at // MINUTE_S)
        self.samples[minute] = self.samples.get(minute, Responses()) + measured(minute, response_ms)

    def hear(self, outage: Outage) -> None:
        """Take an outage in as it is known now. Its end, once known, stays."""
        known = self.outages.get(outage.incident_id)
        if known is not None:
            start = min(known.start, outage.start)
            outage = msgspec.structs.replace(outage, start=start, end=known.end if outage.end is None else outage.end)
        if outage == known:
            return
        self.outages[outage.incident_id] = outage
        self.changed_outages.add(outage.incident_id)
        self.late.append(Late(Span(outage.start, float("inf")), outage.incident_id))

    def forget(self, now: float, decided: int) -> None:
        """Drop what is too old to matter, and samples of decided minutes."""
        oldest = now - KEPT_S
        self.tracks = {vantage: track.since(oldest) for vantage, track in self.tracks.items()}
        self.outages = {
            key: outage for key, outage in self.outages.items() if outage.end is None or outage.end >= oldest
        }
        self.samples = {
            minute: sample
            for minute, sample in self.samples.items()
            if minute >= decided and minute * MINUTE_S >= oldest
        }

    def failing(self) -> bool:
        """Whether an outage is open now."""
        return any(outage.end is None for outage in self.outages.values())


class Book:
    """Evidence about all targets.

    Args:
        targets: Evidence by target; other targets are none of ours.
    """

    def __init__(self, targets: Mapping[str, TargetEvidence]) -> None:
        self.targets = dict(targets)

    def see(self, view: SeenHealth) -> None:
        """Take a health view in. A result that was the prober's own fault proves nothing."""
        evidence = self.targets.get(view.target)
        if evidence is not None and view.last.status is not ProbeStatus.UNKNOWN:
            evidence.see(view.vantage, sight_of(view), view.last.response_ms)

    def hear(self, event: FailureEvent) -> None:
        """Take a failure event in, in any order and as often as it comes."""
        evidence = self.targets.get(event.target)
        if evidence is not None:
            evidence.hear(outage_of(event))

    def remember(self, outages: Mapping[str, Iterable[Outage]]) -> None:
        """Take in what an earlier writer knew."""
        for target, known in outages.items():
            for outage in known:
                if target in self.targets:
                    self.targets[target].hear(outage)


def _news(before: Track, after: Track, sight: Sight) -> Span:
    """What the view says that was not known: of an unbroken series only its newest part."""
    start = after.covered[-1].start
    if before.last is not None and before.covered and before.covered[-1].start <= start:
        start = before.last.at
    return Span(min(start, sight.failing_since or start), sight.at)


def sight_of(view: SeenHealth) -> Sight:
    """What a view proves."""
    at = view.checked_at.timestamp()
    began = (view.first_failed_at or view.since).timestamp()
    unwell = view.state == "flapping" and view.last.status is ProbeStatus.UNHEALTHY
    return Sight(
        at=at,
        observed_since=at if view.observed_since is None else view.observed_since.timestamp(),
        since=view.since.timestamp(),
        failing_since=began if view.state == "failed" else at if unwell else None,
        suspect_since=began if view.state == "suspect" else None,
    )


def outage_of(event: FailureEvent) -> Outage:
    """What an event says of an outage."""
    if isinstance(event, FailureDetected):
        return Outage(incident_id=event.incident_id, start=event.first_failed_at.timestamp())
    start = event.down_since.timestamp()
    return Outage(incident_id=event.incident_id, start=start, end=start + event.downtime_s)
