"""What is promised of which targets: from the configuration, or by default for each target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaoki.config import HttpTarget, Scope, ServiceLevel
from yaoki.config.slo import API_GOAL, FURTHER_GOAL, UPTIME_GOAL

from health_probe.observation import LONGEST_HOLE
from health_probe.slo.evidence import Panel

if TYPE_CHECKING:
    from yaoki.config import Config, Target


def service_levels(config: Config) -> dict[str, ServiceLevel]:
    """Every service with its level, by name. Without configured ones each target is a service of its own."""
    if config.slo.services:
        return dict(config.slo.services)
    return {name: ServiceLevel(targets=(name,), availability=_goal(target)) for name, target in config.targets.items()}


def patience_s(config: Config, target: str) -> float:
    """How far apart two results of a target may be, seconds; the rule by which its prober says `observed_since`."""
    timing = config.timing(target)
    return LONGEST_HOLE * max(timing.interval, timing.suspect_interval) + timing.timeout


def panel_of(config: Config, target: str) -> Panel:
    """Whose views of a target count, as for its verdict."""
    return Panel(config.vantages_of(target), config.quorum_of(target))


def _goal(target: Target) -> float:
    if target.scope is Scope.EXTERNAL:
        return FURTHER_GOAL
    return API_GOAL if isinstance(target, HttpTarget) else UPTIME_GOAL
