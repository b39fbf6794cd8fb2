"""A host has processor time left while the mean over a window is below a limit."""

import asyncio
import time
from typing import Final

import psutil
from yaoki.events.probe import FailureType

from health_probe.attempt import Phases
from health_probe.kinds import ProbeKind, Surroundings
from health_probe.ports import Check
from health_probe.probes.usage import Usage, UsageCheck, UsageTarget
from health_probe.targets import Component

_IDLE: Final = ("idle", "iowait")
# Linux counts these in user and nice as well.
_COUNTED_TWICE: Final = ("guest", "guest_nice")


_SHORTEST_S: Final = 0.25
"""The kernel counts in hundredths of a second: the share of a shorter time says nothing."""


class CpuTarget(UsageTarget, frozen=True, kw_only=True, tag="cpu"):
    """All processors of the prober's own host together. Waiting for a disk counts as idle."""

    failures = frozenset({FailureType.HIGH_CPU_USAGE})


class Processor:
    """Measures from the difference of the kernel's counters, so that nothing between two probes is missed."""

    def __init__(self) -> None:
        self._before = _counters()
        self._at = time.monotonic()

    async def measure(self, phases: Phases) -> Usage:
        """Busy time since the measurement before. Facts: load_1m, processors."""
        async with phases.phase("sample"):
            await asyncio.sleep(max(0.0, self._at + _SHORTEST_S - time.monotonic()))
        self._at = time.monotonic()
        before, self._before = self._before, _counters()
        busy, total = (now - then for now, then in zip(self._before, before, strict=True))
        # Counters of a processor that was taken offline may go back.
        percent = min(max(100.0 * busy / total, 0.0), 100.0) if total > 0 else 0.0
        load, _, _ = psutil.getloadavg()
        return Usage(percent=percent, facts={"load_1m": round(load, 2), "processors": psutil.cpu_count()})


def _counters() -> tuple[float, float]:
    """Busy and total seconds of all processors since the start of the machine."""
    times = psutil.cpu_times()._asdict()
    total = sum(times.values()) - sum(times.get(name, 0.0) for name in _COUNTED_TWICE)
    return total - sum(times.get(name, 0.0) for name in _IDLE), total


def _build(_name: str, target: CpuTarget, surroundings: Surroundings) -> Check:
    measure = Processor().measure
    return UsageCheck(what="CPU", measure=measure, limit=target.limit, window_s=target.window, clock=surroundings.clock)


def _failure_type(_target: CpuTarget) -> FailureType:
    return FailureType.HIGH_CPU_USAGE


KIND = ProbeKind(target=CpuTarget, component=Component.HOST, build=_build, failure_type=_failure_type, remembers=True)
