"""A dependency is innocent once a probe that began after its child failed has found it well; no older one counts."""

from __future__ import annotations

import msgspec
from yaoki.clock import SystemClock

from .station import WHOLE_STORY, Station, World


async def test_an_answer_from_before_the_failure_proves_nothing_however_late_it_was_noticed() -> None:
    """Both lose their server at once; the answer to the last good probe of the parent lay unread until after that."""
    world = World()
    world.began = SystemClock().now()  # verdicts are dated by that clock
    parents = {"cache": ("db",)}
    station = Station(world, me="prober-1#1", vantage="local", vantages=("local",), quorum=1, depends_on=parents)
    await station.begin()
    station.observe("db", "S")
    station.observe("cache", "SF")
    station.prober.observe("db", msgspec.structs.replace(world.result("S"), response_ms=1500.0))
    station.observe("cache", "F")
    await station.reporter.drain()
    assert world.told("cache") == WHOLE_STORY[:1]

    station.observe("db", "S")
    await station.reporter.drain()

    assert world.told("cache") == WHOLE_STORY[:2]
