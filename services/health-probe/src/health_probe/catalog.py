"""From the configuration to the targets that this prober watches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from yaoki.config import Scope

from health_probe.flapping import Damping
from health_probe.hysteresis import Thresholds
from health_probe.judgement import Case
from health_probe.measured import Elsewhere, MeasuredProbe
from health_probe.probes import KINDS
from health_probe.targets import Component, MonitoredTarget
from health_probe.verdicts import Identity

if TYPE_CHECKING:
    from collections.abc import Iterable

    from yaoki.clock import Clock
    from yaoki.config import Config, ProbeTiming
    from yaoki.config.probing import FlappingSettings

    from health_probe.kinds import Surroundings
    from health_probe.ports import Probe

EXTERNAL_TIMEOUT_S: Final = 10.0
"""What is beyond our own network gets at least this long, unless its configuration says otherwise."""

KINDS_BY_TARGET: Final = {kind.target: kind for kind in KINDS}


def monitored_targets(surroundings: Surroundings, clock: Clock) -> list[MonitoredTarget]:
    """Every configured target, with its probe where it is probed from here; opens nothing."""
    return [monitored_target(name, surroundings, clock) for name in surroundings.config.targets]


def cases(config: Config, targets: Iterable[MonitoredTarget]) -> dict[str, Case]:
    """What the judge has to know of each target."""
    return {
        target.name: Case(
            identity=target.identity,
            vantages=config.vantages_of(target.name),
            quorum=config.quorum_of(target.name),
            thresholds=target.thresholds,
            timeout_s=target.timeout_s,
            disagreement_after_s=config.probe.disagreement_after,
        )
        for target in targets
    }


def routed_clusters(config: Config) -> list[str]:
    """Clusters and groups whose published route some target follows."""
    named = {getattr(target, "cluster", None) for target in config.targets.values()}
    named |= {getattr(target, "group", None) for target in config.targets.values()}
    return sorted(name for name in named if name is not None)


def monitored_target(name: str, surroundings: Surroundings, clock: Clock) -> MonitoredTarget:
    """One configured target with its probe; opens nothing."""
    target = surroundings.config.targets[name]
    kind = KINDS_BY_TARGET[type(target)]
    timing = surroundings.config.timing(name)
    external = target.scope is Scope.EXTERNAL
    return MonitoredTarget(
        identity=Identity(
            target=name,
            kind=target.kind,
            region=surroundings.config.region,
            vantage=surroundings.vantage,
            failure_type=kind.failure_type(target),
        ),
        probe=_probe(name, surroundings, clock),
        thresholds=_thresholds(timing, surroundings.config.probe.flapping),
        timeout_s=timing.timeout if target.timeout or not external else max(timing.timeout, EXTERNAL_TIMEOUT_S),
        jitter=timing.jitter,
        component=Component.EXTERNAL_SERVICES if external else kind.component,
        vital=not external and kind.vital(target),
        remembers=kind.remembers,
    )


def _probe(name: str, surroundings: Surroundings, clock: Clock) -> Probe:
    target = surroundings.config.targets[name]
    if target.agent != surroundings.agent:
        return Elsewhere(f"agent {target.agent}" if target.agent else "the probers", clock)
    return MeasuredProbe(KINDS_BY_TARGET[type(target)].build(name, target, surroundings), clock)


def _thresholds(timing: ProbeTiming, flapping: FlappingSettings) -> Thresholds:
    return Thresholds(
        unhealthy_after=timing.unhealthy_after,
        healthy_after=timing.healthy_after,
        interval_s=timing.interval,
        suspect_interval_s=timing.suspect_interval,
        damping=Damping(results=flapping.results, start=flapping.start, stop=flapping.stop),
    )
