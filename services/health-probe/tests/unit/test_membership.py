"""The lease among probers: who speaks, who is counted, who has to go."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from health_probe.membership import Membership
from health_probe.roster import Member, Roster
from typing_extensions import override
from yaoki.errors import FatalError, TransientError
from yaoki.testing import InMemoryKeyValue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .conftest import VirtualClock

TTL = 10.0
ONE, TWO = Member("local", "one"), Member("local", "two")


class Leases(InMemoryKeyValue):
    """Out of reach for whoever is in `away`; stores what those in `unanswered` write and answers nothing.

    Those in `slow` are answered after so many seconds.
    """

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        self.clock = clock
        self.slow: dict[str, float] = {}
        self.away: set[str] = set()
        self.unanswered: set[str] = set()

    @override
    async def update(self, key: str, value: bytes, *, revision: int, ttl_s: float | None = None) -> int:
        if key.rpartition(".")[2] in self.away:
            raise TransientError("NATS is away")
        written = await super().update(key, value, revision=revision, ttl_s=ttl_s)
        if key.rpartition(".")[2] in self.unanswered:
            await asyncio.Event().wait()
        if (answer_s := self.slow.get(key.rpartition(".")[2])) is not None:
            await self.clock.sleep(answer_s)
        return written


class Follower:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.rosters: list[Roster] = []
        self.returns = 0

    def on_roster(self, roster: Roster) -> None:
        self.rosters.append(roster)

    def on_return(self) -> None:
        self.returns += 1


class Running:
    """A membership, its follower, and its task."""

    def __init__(self, leases: Leases, member: Member, clock: VirtualClock, boot: str = "1") -> None:
        self.membership = Membership(leases, me=member, boot=boot, clock=clock, ttl_s=TTL)
        self.follower = Follower()
        self.membership.tell(self.follower)
        self.task: asyncio.Task[None] | None = None

    @property
    def alive(self) -> frozenset[Member]:
        return self.membership.roster.members

    async def begin(self) -> Running:
        await self.membership.join()
        self.task = asyncio.create_task(self.membership.run())
        return self

    async def end(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait({self.task})


@asynccontextmanager
async def pair(leases: Leases, clock: VirtualClock) -> AsyncIterator[tuple[Running, Running]]:
    one, two = await Running(leases, ONE, clock).begin(), await Running(leases, TWO, clock).begin()
    try:
        await clock.advance(TTL)
        yield one, two
    finally:
        await one.end()
        await two.end()


async def test_they_see_each_other_and_who_falls_silent_is_gone_after_its_lease(clock: VirtualClock) -> None:
    async with pair(Leases(clock), clock) as (one, two):
        assert one.alive == two.alive == {ONE, TWO}
        await two.end()

        await clock.advance(TTL * 0.7)
        assert one.alive == {ONE, TWO}
        await clock.advance(TTL * 0.6)
        assert one.alive == {ONE}


async def test_whoever_cannot_renew_stops_speaking_before_it_is_counted_as_gone(clock: VirtualClock) -> None:
    leases = Leases(clock)
    async with pair(leases, clock) as (one, two):
        leases.away.add("two")
        for _ in range(200):
            await clock.advance(TTL / 100)
            if TWO not in one.alive:
                break
            assert one.membership.may_speak()
        assert TWO not in one.alive
        assert not two.membership.may_speak()
        assert two.alive == {ONE, TWO}, "who cannot know keeps what it knew"

        leases.away.clear()
        await clock.advance(TTL)
        assert (two.follower.returns, two.membership.may_speak()) == (1, True)
        assert one.alive == two.alive == {ONE, TWO}
        assert one.follower.returns == 0


async def test_an_outage_for_everybody_moves_nothing(clock: VirtualClock) -> None:
    leases = Leases(clock)
    async with pair(leases, clock) as (one, two):
        before = len(one.follower.rosters), len(two.follower.rosters)
        leases.away.update({"one", "two"})
        await clock.advance(TTL * 6)
        assert not one.membership.may_speak()

        leases.away.clear()
        await clock.advance(TTL)
        assert (len(one.follower.rosters), len(two.follower.rosters)) == before
        assert (one.follower.returns, two.follower.returns) == (1, 1)


async def test_whoever_may_not_speak_takes_nothing_over(clock: VirtualClock) -> None:
    """It hears that another has left, and cannot know who else has heard it: it waits until it holds its lease."""
    leases = Leases(clock)
    async with pair(leases, clock) as (one, two):
        leases.away.add("two")
        await clock.advance(TTL)
        assert not two.membership.may_speak()
        await one.end()
        await one.membership.leave()
        await clock.advance(TTL)
        assert two.alive == {ONE, TWO}

        leases.away.clear()
        await clock.advance(TTL / 2)
        assert two.alive == {TWO}


async def test_a_renewal_that_was_answered_too_late_is_no_return(clock: VirtualClock) -> None:
    """By then it is worth nothing: the lease counts from when it was sent."""
    leases = Leases(clock)
    async with pair(leases, clock) as (_, two):
        leases.away.add("two")
        await clock.advance(TTL)
        leases.away.clear()
        leases.slow["two"] = TTL * 0.9
        await clock.advance(TTL)
        assert (two.follower.returns, two.membership.may_speak()) == (0, False)

        leases.slow.clear()
        await clock.advance(TTL)
        assert (two.follower.returns, two.membership.may_speak()) == (1, True)


async def test_who_leaves_is_gone_at_once(clock: VirtualClock) -> None:
    async with pair(Leases(clock), clock) as (one, two):
        await two.end()
        await two.membership.leave()
        await clock.advance(0.01)

        assert one.alive == {ONE}
        assert not two.membership.may_speak()


async def test_who_is_stopped_while_it_renews_is_gone_at_once_as_well(clock: VirtualClock) -> None:
    """The renewal is stored, and whoever is stopped does not know its revision."""
    leases = Leases(clock)
    async with pair(leases, clock) as (one, two):
        leases.unanswered.add("two")
        await clock.advance(TTL / 2)
        await two.end()
        await two.membership.leave()
        await clock.advance(0.01)

        assert one.alive == {ONE}


async def test_a_process_started_again_takes_its_name_over_at_once_and_the_older_one_ends(clock: VirtualClock) -> None:
    async with pair(Leases(clock), clock) as (one, two):
        again = await Running(one.membership._leases, ONE, clock, boot="2").begin()  # type: ignore[arg-type]  # noqa: SLF001 - the same bucket
        try:
            await clock.advance(TTL / 2)

            assert again.membership.may_speak()
            assert two.alive == {ONE, TWO}
            assert one.task is not None
            with pytest.raises(BaseExceptionGroup) as caught:
                await one.task
            assert caught.group_contains(FatalError, match="runs as --instance one; give each process a name")
        finally:
            await again.end()
