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


def _why(scaling: Scaling, load: Load) -> str:
    cpu = "unknown" if load.cpu_percent is None else f"{load.cpu_percent:.0f} %"
    requests = "unknown" if load.requests_per_minute is None else f"{load.requests_per_minute:.0f}"
    return (
        f"cpu {cpu} (aimed at {scaling.cpu_target:g} %), requests a minute {requests} "
        f"(at most {scaling.requests_per_instance:g} for each instance)"
    )
