"""What a probe kind has to declare to be registered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from yaoki.clock import SystemClock

from health_probe.heartbeats import HeartbeatBook
from health_probe.traffic import TrafficBook

if TYPE_CHECKING:
    from collections.abc import Callable

    from yaoki.clock import Clock
    from yaoki.config import Config, Target
    from yaoki.events.probe import FailureType

    from health_probe.adapters.network import Network
    from health_probe.ports import Check
    from health_probe.routes import RouteBook
    from health_probe.targets import Component


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What checks are built from beside their own target.

    Attributes:
        vantage: From where is looked.
        prober: Name of this prober; `vantage` where it is the only one.
        agent: Name of the agent that looks, on its own host; None for a prober.
        clock: For checks that look at the time.
        heartbeats: What targets that check in have said.
        traffic: What applications report of their requests.
    """

    config: Config
    network: Network
    routes: RouteBook
    vantage: str
    prober: str = ""
    agent: str | None = None
    clock: Clock = msgspec.field(default_factory=SystemClock)
    heartbeats: HeartbeatBook = msgspec.field(default_factory=HeartbeatBook)
    traffic: TrafficBook = msgspec.field(default_factory=TrafficBook)


class ProbeKind(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `probes.KINDS`.

    Attributes:
        target: Struct of the configuration; its tag is the kind's name.
        component: Heading in the overview, unless the target is external.
        build: `(name, target, surroundings) -> Check`; opens nothing.
        failure_type: `(target) -> FailureType`: what a failure of it is called.
        hears: `(target) -> str`: what only a running prober hears of it over NATS; empty when probing is enough.
        vital: `(target) -> bool`: whether the whole is unhealthy without it, unless it is external.
        remembers: It judges by what this prober saw before, or by its host: another prober's word is worth nothing.
    """

    target: type[Target]
    component: Component
    build: Callable[[str, Any, Surroundings], Check]
    failure_type: Callable[[Any], FailureType]
    hears: Callable[[Any], str] = lambda _target: ""
    vital: Callable[[Any], bool] = lambda _target: True
    remembers: bool = False
