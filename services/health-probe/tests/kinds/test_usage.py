"""The kinds `cpu`, `memory` and `disk`."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import pytest
from health_probe.probes.cpu import Processor
from health_probe.probes.disk import Disk
from health_probe.probes.memory import measure as measure_memory
from health_probe.probes.usage import Usage, UsageCheck
from yaoki.clock import SystemClock
from yaoki.events.probe import ErrorClass, ProbeStatus
from yaoki_devstack.diskspace import small_disk

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from health_probe.attempt import Phases
    from yaoki.clock import Clock

WINDOW_S = 300.0


def feeding(values: Iterable[float]) -> Callable[[Phases], Awaitable[Usage]]:
    """Measurements with these values, one after the other."""
    left = deque(values)

    async def measure(_phases: Phases) -> Usage:
        return Usage(percent=left.popleft())

    return measure


async def verdicts(run: Any, clock: Any, values: list[float]) -> list[Any]:
    """One result every 30 s."""
    check = UsageCheck(what="CPU", measure=feeding(values), limit=90.0, window_s=WINDOW_S, clock=clock)
    results = []
    for _ in values:
        results.append(await run(check))
        clock.forward(30.0)
    return results


async def test_a_short_peak_is_no_failure(run: Any, clock: Any) -> None:
    results = await verdicts(run, clock, [20.0] * 10 + [100.0] * 3 + [20.0] * 3)

    assert {result.status for result in results} == {ProbeStatus.HEALTHY, ProbeStatus.DEGRADED}
    assert results[11].detail == "CPU 100.0 % used now, more than 90 %, but not yet on average"


async def test_a_window_above_the_limit_is_a_failure_until_its_mean_is_below(run: Any, clock: Any) -> None:
    results = await verdicts(run, clock, [95.0] * 12 + [10.0] * 3)

    assert results[11].status is ProbeStatus.UNHEALTHY
    assert results[11].error_class is ErrorClass.CAPACITY
    assert results[11].detail == "CPU 95.0 % used on average over 5m, at most 90 % allowed"
    assert results[11].facts["mean_percent"] == 95.0
    assert results[-1].status is ProbeStatus.HEALTHY


async def test_before_the_window_is_known_there_is_neither_failure_nor_health(run: Any, clock: Any) -> None:
    """A prober that was restarted in the middle of a failure must not clear it."""
    results = await verdicts(run, clock, [95.0] * 12)

    assert [result.status for result in results[:8]] == [ProbeStatus.UNKNOWN] * 8
    assert results[-1].status is ProbeStatus.UNHEALTHY


@pytest.mark.parametrize("measure", [measure_memory, Processor().measure, Disk("/").measure])
async def test_this_host_can_be_measured(measure: Callable[[Phases], Awaitable[Usage]], run: Any) -> None:
    check = UsageCheck(what="it", measure=measure, limit=100.0, window_s=WINDOW_S, clock=SystemClock())

    result = await run(check)

    assert result.status is ProbeStatus.HEALTHY, result
    assert isinstance(result.facts["percent"], float)
    assert 0.0 <= result.facts["percent"] <= 100.0
    assert len(result.facts) >= 4


async def test_the_processor_is_busy_while_something_computes(run: Any) -> None:
    clock: Clock = SystemClock()
    check = UsageCheck(what="CPU", measure=Processor().measure, limit=100.0, window_s=WINDOW_S, clock=clock)
    until = clock.monotonic() + 0.3
    while clock.monotonic() < until:
        sum(range(1000))

    result = await run(check)

    assert result.facts["percent"] > 100.0 / result.facts["processors"] / 2


@pytest.mark.real
async def test_a_full_disk_is_measured_as_full(run: Any, clock: Any) -> None:
    async with small_disk(4 << 20) as disk:
        disk.fill()
        check = UsageCheck(what="disk", measure=Disk(str(disk.path)).measure, limit=95.0, window_s=60.0, clock=clock)
        for _ in range(3):
            await run(check)
            clock.forward(20.0)
        result = await run(check)

    assert (result.status, result.error_class) == (ProbeStatus.UNHEALTHY, ErrorClass.CAPACITY), result
    assert result.facts["free_bytes"] == 0
