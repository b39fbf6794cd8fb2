"""A host has memory left while the mean over a window is below a limit."""

import psutil
from yaoki.events.probe import FailureType

from health_probe.attempt import Phases
from health_probe.kinds import ProbeKind, Surroundings
from health_probe.ports import Check
from health_probe.probes.usage import Usage, UsageCheck, UsageTarget
from health_probe.targets import Component


class MemoryTarget(UsageTarget, frozen=True, kw_only=True, tag="memory"):
    """Memory of the prober's own host. Used is what applications could not get without swapping."""

    failures = frozenset({FailureType.HIGH_MEMORY_USAGE})


async def measure(_phases: Phases) -> Usage:
    """Memory in use now. Facts: available_bytes, swap_percent."""
    memory = psutil.virtual_memory()
    return Usage(
        percent=memory.percent,
        facts={"available_bytes": memory.available, "swap_percent": psutil.swap_memory().percent},
    )


def _build(_name: str, target: MemoryTarget, surroundings: Surroundings) -> Check:
    return UsageCheck(
        what="memory", measure=measure, limit=target.limit, window_s=target.window, clock=surroundings.clock
    )


def _failure_type(_target: MemoryTarget) -> FailureType:
    return FailureType.HIGH_MEMORY_USAGE


KIND = ProbeKind(
    target=MemoryTarget, component=Component.HOST, build=_build, failure_type=_failure_type, remembers=True
)
