"""What is decided is told: in order, once, through outages, crashes at any point, and a second prober."""

from __future__ import annotations

from typing import Any

import pytest
from typing_extensions import override
from yaoki import faults
from yaoki.errors import TransientError
from yaoki.testing import InMemoryKeyValue, eventually

from .station import WHOLE_STORY, AwayPublisher, Station, World, sole

POINTS = ["health-probe.verdict-written", "health-probe.verdict-published"]


class Crash(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("passes", [1, 2, 3])
async def test_a_crash_anywhere_neither_loses_nor_doubles_a_verdict(point: str, passes: int) -> None:
    """The target is probed on through the crash; each event is published once, in order, of one incident."""
    world = World()
    station = await sole(world)
    crashes = 0

    def crash() -> None:
        nonlocal crashes
        crashes += 1
        if crashes == passes:
            raise Crash

    with faults.armed(point, crash):
        for letter in "SFFFSSS":
            station.observe("db", letter)
            try:
                await station.reporter.drain()
            except Crash:
                station = await sole(world, "prober-1#2")
                await station.reporter.drain()

    assert crashes >= passes
    assert world.told() == WHOLE_STORY
    assert world.publisher.repeated == []
    assert len(world.incidents()) == 1


@pytest.mark.parametrize("point", POINTS)
async def test_a_failure_told_just_before_a_crash_is_cleared_though_it_ended_meanwhile(point: str) -> None:
    """The new process never sees the target fail, and still owes the clearing."""
    world = World()
    station = await sole(world)
    station.observe("db", "F")
    await station.reporter.drain()
    station.observe("db", "F")

    def crash() -> None:
        raise Crash

    with faults.armed(point, crash), pytest.raises(Crash):
        await station.reporter.drain()
    station = await sole(world, "prober-1#2")
    station.observe("db", "SS")
    await station.reporter.drain()

    assert world.told() == WHOLE_STORY
    assert len(world.incidents()) == 1


async def test_verdicts_wait_for_nats_in_order_and_of_views_the_newest_survives() -> None:
    world = World()
    station = await sole(world)
    async with station.delivering():
        station.observe("db", "S")
        await eventually(lambda: station.reporter.idle)
        world.publisher.away = True
        for letter in "FFFFFSSFFSS":
            station.observe("db", letter)
            station.observe("cache", "F")
        await eventually(lambda: not station.reporter.idle)
        assert world.told() == []
        world.publisher.away = False
        await eventually(lambda: station.reporter.idle)

    assert world.told() == WHOLE_STORY * 2
    assert world.told("cache") == ["TargetSuspected", "FailureDetected"]
    views = await world.views()
    assert (views["db"].state, views["cache"].state) == ("healthy", "failed")
    assert (await world.verdict("db")).untold == (await world.verdict("cache")).untold == ()


async def test_an_event_that_can_never_be_published_holds_back_no_other() -> None:
    world = World()
    world.publisher.refused = {"target-suspected"}
    station = await sole(world)
    station.observe("db", "FFSS")

    await station.reporter.drain()

    assert world.told() == ["FailureDetected", "FailureCleared"]


async def test_the_bucket_that_others_read_is_never_behind_a_published_verdict() -> None:
    """Whoever hears of a failure and looks into the bucket finds the target failed, verdict and view."""
    world = World()
    seen: list[tuple[str, str, str]] = []

    class Reader(AwayPublisher):
        @override
        async def publish(self, event: Any, **identity: Any) -> Any:
            states = (await world.views())["db"].state, (await world.verdict("db")).state
            seen.append((type(event).__name__, *states))
            return await super().publish(event, **identity)

    world.publisher = Reader()
    station = await sole(world)
    for letter in "FFSS":
        station.observe("db", letter)
        await station.reporter.drain()

    assert seen == [
        ("TargetSuspected", "suspect", "suspect"),
        ("FailureDetected", "failed", "failed"),
        ("FailureCleared", "healthy", "healthy"),
    ]


async def test_without_its_lease_a_prober_writes_and_tells_nothing_and_loses_nothing() -> None:
    world = World()
    station = await sole(world)
    station.may_speak = False
    async with station.delivering():
        station.observe("db", "SFF")
        station.observe("cache", "S")
        # Others are served meanwhile, so that their silence is no mere delay.
        other = await sole(World())
        async with other.delivering():
            other.observe("db", "FF")
            await eventually(lambda: other.reporter.idle)
        assert await world.health.keys() == []
        station.may_speak = True
        await eventually(lambda: station.reporter.idle)

    assert world.told() == WHOLE_STORY[:2]


async def test_a_former_owner_cannot_write_over_its_successor_nor_tell_what_it_saw() -> None:
    """It was paused with a failure in its memory; the successor found the target well."""
    world = World()
    former = await sole(world, "prober-1#1")
    former.observe("db", "S")
    await former.reporter.drain()
    former.observe("db", "FF")

    successor = await sole(world, "prober-2#1")
    successor.observe("db", "S")
    await successor.reporter.drain()
    former.ownership.on_return()
    await former.reporter.drain()

    assert world.told() == []
    assert (await world.views())["db"].prober == "prober-2#1"


async def test_an_event_of_a_former_judge_is_told_once_however_late_its_successor_looks() -> None:
    """Published, not yet taken out of the verdict, and the stream has forgotten its identity since."""
    world = World()
    former = await sole(world)

    def crash() -> None:
        raise Crash

    former.observe("db", "F")
    with faults.armed("health-probe.verdict-published", crash), pytest.raises(Crash):
        await former.reporter.drain()
    successor = await sole(world, "prober-2#1")
    await successor.reporter.drain()

    assert world.told() == ["TargetSuspected"]
    assert world.publisher.repeated == []


async def test_where_several_vantages_vote_what_was_seen_without_a_lease_is_no_evidence() -> None:
    """Even where one vote would be enough: the prober may have been the one that was cut off."""
    world = World()
    station = Station(world, me="prober-1#1", vantage="local", vantages=("local", "osaka"), quorum=1)
    await station.begin()
    station.observe("db", "S")
    await station.reporter.drain()
    station.may_speak = False
    station.observe("db", "FFF")
    station.may_speak = True
    station.ownership.on_return()
    async with station.delivering():
        await eventually(lambda: station.prober.watched == ["cache", "db"])
        station.observe("db", "S")
        await eventually(lambda: station.reporter.idle)

    assert world.told() == []
    assert (await world.views())["db"].state == "healthy"


async def test_whoever_takes_over_a_target_writes_its_view_and_verdict_at_once() -> None:
    """So that no later write of the former owner or judge succeeds."""
    world = World()
    former = await sole(world, "prober-1#1")
    former.observe("db", "FF")
    await former.reporter.drain()

    successor = await sole(world, "prober-2#1")
    await successor.reporter.drain()

    assert (await world.views())["db"].prober == "prober-2#1"
    assert (await world.verdict("db")).judge == "prober-2#1"
    assert (await world.views())["db"].state == (await world.verdict("db")).state == "failed"


async def test_a_view_that_only_changes_hands_is_not_newer_for_that() -> None:
    """A failure of long ago must not count as one of now because somebody takes the target over."""
    world = World()
    former = await sole(world, "prober-1#1")
    former.observe("db", "S")  # a result of the year's first second
    await former.reporter.drain()
    witness = await sole(world, "witness#1")
    old = witness.board.sightings("db")[0].age_s

    successor = await sole(world, "prober-2#1")
    await successor.reporter.drain()
    await witness.look()

    assert witness.board.views("db")[0].prober == "prober-2#1"
    assert witness.board.sightings("db")[0].age_s >= old > 0


async def test_a_lease_that_lapses_before_an_event_is_told_keeps_it_untold() -> None:
    world = World()
    station = await sole(world)
    station.observe("db", "F")

    def lapse() -> None:
        station.may_speak = False

    with faults.armed("health-probe.verdict-written", lapse), pytest.raises(TransientError):
        await station.reporter.drain()

    assert world.told() == []
    assert [event.event_name() for event in (await world.verdict("db")).untold] == ["target-suspected"]


async def test_a_lease_that_lapses_between_two_writes_stops_before_the_second() -> None:
    """Nothing more is written, nothing is told, and whoever drains does not wait for a lease that will not come."""
    world = World()
    station: Station | None = None

    class Lapsing(InMemoryKeyValue):
        @override
        async def create(self, key: str, value: bytes, *, ttl_s: float | None = None) -> int:
            if station is not None:
                station.may_speak = False
            return await super().create(key, value, ttl_s=ttl_s)

    world.health = Lapsing()
    station = await sole(world)
    station.observe("db", "FF")

    await station.reporter.drain()
    assert await world.health.keys() == ["db"]
    assert world.told() == []

    while not station.reporter.idle:
        station.may_speak = True
        await station.reporter.drain()
    assert world.told() == WHOLE_STORY[:2]
