"""The health of the whole, from the health of its parts: pure."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - msgspec reads the annotation at run time
from typing import TYPE_CHECKING, Final

import msgspec
from yaoki.events.probe import ProbeStatus

from health_probe.hysteresis import Health
from health_probe.quorum import Outcome
from health_probe.records import HealthRecord  # noqa: TC001 - msgspec reads the annotation at run time
from health_probe.targets import Component

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from health_probe.targets import MonitoredTarget

_SEVERITY: Final = (ProbeStatus.HEALTHY, ProbeStatus.DEGRADED, ProbeStatus.UNKNOWN, ProbeStatus.UNHEALTHY)


class Opinion(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a target now.

    Attributes:
        state: Of the verdict.
        outcome: What the votes amount to now.
        views: The newest of each vantage.
    """

    state: str
    outcome: Outcome
    quorum: int
    views: tuple[HealthRecord, ...]


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One target, or one thing of this host.

    Attributes:
        response_ms: Of the newest probe; None when there was none.
    """

    status: ProbeStatus
    response_ms: float | None = None
    detail: str = ""


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """All targets under one heading; `status` is the worst, `response_ms` the slowest of them."""

    status: ProbeStatus
    response_ms: float | None = None
    targets: dict[str, Part] = {}


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """What `/health/detailed` answers.

    Attributes:
        status: Unhealthy or unknown as soon as one vital part is; at most degraded by all others.
    """

    status: ProbeStatus
    at: datetime
    components: dict[str, Section | Part]


def summarise(
    targets: Iterable[MonitoredTarget],
    opinions: Mapping[str, Opinion],
    host: Mapping[str, Part],
    now: datetime,
) -> Overview:
    """Put all parts together; `host` is what was measured of this prober's own host, by heading."""
    sections: dict[str, dict[str, Part]] = {component: {} for component in Component}
    weights = [part.status for part in host.values()]
    for target in targets:
        part = part_of(opinions[target.name])
        sections[target.component][target.name] = part
        weights.append(part.status if target.vital else _at_most_degraded(part.status))
    components: dict[str, Section | Part] = {name: _section(parts) for name, parts in sections.items()}
    return Overview(status=_worst(weights), at=now, components=components | dict(host))


def part_of(opinion: Opinion) -> Part:
    """What all vantages together make of a target now. Where too few have looked lately it is unknown."""
    if not opinion.views:
        return Part(status=ProbeStatus.UNKNOWN, detail="not probed yet")
    newest = max(opinion.views, key=lambda view: view.checked_at)
    status = _status(opinion)
    speaker = next((view for view in opinion.views if view.last.status is status), newest)
    detail = speaker.last.detail
    if status is ProbeStatus.UNKNOWN and newest.last.status is not ProbeStatus.UNKNOWN:
        seen = newest.checked_at.isoformat(timespec="seconds")
        detail = f"too few vantages have looked lately; newest result {seen}"
    return Part(status=status, response_ms=speaker.last.response_ms, detail=detail)


def _status(opinion: Opinion) -> ProbeStatus:
    """A failure lasts until it is cleared; everything else is as good as the votes are now."""
    if opinion.state == Health.FAILED:
        return ProbeStatus.UNHEALTHY
    if opinion.state in (Health.SUSPECT, Health.FLAPPING):
        return ProbeStatus.DEGRADED
    match opinion.outcome:
        case Outcome.WELL:
            degraded = sum(view.last.status is ProbeStatus.DEGRADED for view in opinion.views)
            return ProbeStatus.DEGRADED if degraded >= opinion.quorum else ProbeStatus.HEALTHY
        case Outcome.FAILED:
            return ProbeStatus.UNHEALTHY
        case Outcome.UNDECIDED:
            return ProbeStatus.UNKNOWN


def _section(parts: dict[str, Part]) -> Section:
    times = [part.response_ms for part in parts.values() if part.response_ms is not None]
    return Section(
        status=_worst([part.status for part in parts.values()]),
        response_ms=max(times, default=None),
        targets=parts,
    )


def _at_most_degraded(status: ProbeStatus) -> ProbeStatus:
    return status if status is ProbeStatus.HEALTHY else ProbeStatus.DEGRADED


def _worst(statuses: list[ProbeStatus]) -> ProbeStatus:
    return max(statuses, key=_SEVERITY.index, default=ProbeStatus.HEALTHY)
