"""A target as the prober knows it, whatever its kind."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from health_probe.hysteresis import Thresholds
    from health_probe.ports import Probe
    from health_probe.verdicts import Identity


class Component(StrEnum):
    """Headings of the overview."""

    DATABASE = "database"
    REDIS = "redis"
    SERVICES = "services"
    HOST = "host"
    EXTERNAL_SERVICES = "external_services"


class MonitoredTarget(msgspec.Struct, frozen=True, kw_only=True):
    """Everything needed to watch one target.

    Attributes:
        timeout_s: For one run of `probe`.
        jitter: Share of the interval.
        component: Heading under which the overview shows it.
        vital: The whole is unhealthy without it; another one's failure only degrades the whole.
        remembers: Only who watches it can say how it is; see `ProbeKind.remembers`.
    """

    identity: Identity
    probe: Probe
    thresholds: Thresholds
    timeout_s: float
    jitter: float = 0.1
    component: Component
    vital: bool = True
    remembers: bool = False

    @property
    def name(self) -> str:
        """Its name in the configuration."""
        return self.identity.target
