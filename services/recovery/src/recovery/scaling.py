"""How many instances an application should have. Pure."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from yaoki.config.applications import Scaling

Direction = Literal["out", "in"]


class Load(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the instances have to do; None is unknown.

    Attributes:
        cpu_percent: Mean over the instances, of one processor each.
        requests_per_minute: Of all instances together.
    """

    cpu_percent: float | None = None
    requests_per_minute: float | None = None


class ScaleTo(msgspec.Struct, frozen=True):
    """Change the number of instances; the sentence says why."""

    instances: int
    why: str


class Stay(msgspec.Struct, frozen=True):
    """Change nothing; the sentence says why."""

    why: str


def decide_scale(
    scaling: Scaling, *, current: int, direction: Direction, load: Load, changed: datetime | None, now: datetime
) -> ScaleTo | Stay:
    """How many instances there should be.

    Invariants: the number that is ordered lies within the limits; nothing is ordered within the cooldown of the last
    change; going in takes one away at a time and only when all of the load is known, so that ignorance never does.

    Args:
        scaling: Limits and targets.
        current: Instances that there should be now.
        direction: `out`: what there is is not enough, whatever the load says. `in`: look whether fewer would do.
        load: As measured.
        changed: When the number was changed last.
        now: UTC.
    """
    fewest, most = scaling.limits
    cooled = None if changed is None else changed + timedelta(seconds=scaling.cooldown)
    if cooled is not None and now < cooled:
        return Stay(f"the number was changed at {changed:%H:%M:%S} UTC; it is left alone until {cooled:%H:%M:%S}")
    if current < fewest:
        return ScaleTo(fewest, f"{current} instances are fewer than the least, {fewest}")
    wanted = instances_for(scaling, current, load)
    if direction == "out":
        number = min(most, max(current + 1, wanted or 0))
        return (
            ScaleTo(number, _why(scaling, load)) if number > current else Stay(f"{current} is the most allowed, {most}")
        )
    if current > most:
        return ScaleTo(most, f"{current} instances are more than the most, {most}")
    if wanted is None or load.cpu_percent is None or load.requests_per_minute is None:
        return Stay("the load is not known, and ignorance takes no instance away")
    number = max(fewest, wanted, current - 1)
    return ScaleTo(number, _why(scaling, load)) if number < current else Stay(f"{current} instances are needed")


def instances_for(scaling: Scaling, current: int, load: Load) -> int | None:
    """How many instances would have the load that is aimed at; None when nothing is known of it."""
    needs = []
    if load.cpu_percent is not None:
        needs.append(math.ceil(current * load.cpu_percent / scaling.cpu_target))
    if load.requests_per_minute is not None:
        needs.append(math.ceil(load.requests_per_minute / scaling.requests_per_instance))
    return max(needs, default=None)


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of one application so far; begun anew by every process, so that nothing comes too early.

    Attributes:
        high_since: Since when more instances have been needed at every look.
        low_since: Since when fewer would have done at every look.
        tried: When a change was ordered last, whatever became of it.
    """

    high_since: datetime | None = None
    low_since: datetime | None = None
    tried: datetime | None = None


def watch(
    scaling: Scaling, watched: Watched, *, current: int, load: Load, changed: datetime | None, now: datetime
) -> tuple[Watched, Direction | None]:
    """Whether the number of instances should follow the load now, and what to remember for the next look.

    Invariants: a direction is told only when `decide_scale` would change the number in it, after the load has asked for
    it at every look for `high_for` or `low_for`, and not within the cooldown of the last change or attempt. One look at
    which the load is not wholly known, or asks for the contrary, begins the time anew.

    Args:
        scaling: With `load`.
        watched: As after the look before.
        current: Instances that there should be now.
        load: As measured.
        changed: When the number was changed last.
        now: UTC.
    """
    if scaling.load is None:
        return watched, None
    wanted = instances_for(scaling, current, load)
    known = load.cpu_percent is not None and load.requests_per_minute is not None
    high = now if wanted is not None and wanted > current else None
    low = now if known and wanted is not None and wanted < current else None
    seen = Watched(
        high_since=high and (watched.high_since or high),
        low_since=low and (watched.low_since or low),
        tried=watched.tried,
    )
    direction = _lasting(seen, high_for=scaling.load.high_for, low_for=scaling.load.low_for, now=now)
    if direction is None or (seen.tried is not None and now < seen.tried + timedelta(seconds=scaling.cooldown)):
        return seen, None
    decision = decide_scale(scaling, current=current, direction=direction, load=load, changed=changed, now=now)
    if isinstance(decision, Stay):
        return seen, None
    return Watched(tried=now), direction


def _lasting(seen: Watched, *, high_for: float, low_for: float, now: datetime) -> Direction | None:
    if seen.high_since is not None and now >= seen.high_since + timedelta(seconds=high_for):
        return "out"
    if seen.low_since is not None and now >= seen.low_since + timedelta(seconds=low_for):
        return "in"
    return None


def _why(scaling: Scaling, load: Load) -> str:
    cpu = "unknown" if load.cpu_percent is None else f"{load.cpu_percent:.0f} %"
    requests = "unknown" if load.requests_per_minute is None else f"{load.requests_per_minute:.0f}"
    return (
        f"cpu {cpu} (aimed at {scaling.cpu_target:g} %), requests a minute {requests} "
        f"(at most {scaling.requests_per_instance:g} for each instance)"
    )
