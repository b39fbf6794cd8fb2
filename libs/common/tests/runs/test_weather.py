"""Several executors, lost, late and doubled messages, NATS away, hosts that die: the promises hold in all of it."""

from __future__ import annotations

import contextlib
import random

import pytest
from yaoki.errors import RejectedError, TransientError
from yaoki.events.runs import Ending, Intervention
from yaoki.plans import Effect, Step
from yaoki.runs import Steering
from yaoki.testing.simulation import (
    Crash,
    CrashPoint,
    History,
    Process,
    Weather,
    World,
    check,
    play,
    run_virtually,
    standing,
)

from .plans import RUN, SHAPES, Shape, call, one, start, step

FORGETFUL = frozenset({"s0", "s3", "s6", "s9"})
HISTORIES = 25

ROUGH = Weather(delay_s=0.2, lost_requests=0.05, late_requests=0.05, lost_replies=0.05, doubled=0.1)
UNSUCCESSFUL = {Ending.ROLLED_BACK, Ending.ROLLBACK_FAILED, Ending.EXHAUSTED, Ending.VERIFICATION_FAILED}

named = pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)


def rough_history(shape: Shape, seed: int, weather: Weather, *, instances: int, deadly: bool) -> History:
    """One run, with instances that die at random places if `deadly`, and a person who resumes what is paused."""

    async def scenario() -> History:
        dice = random.Random(seed)  # noqa: S311 - reproducible histories, no secrets
        crashes = [Crash(dice.choice(list(CrashPoint)), dice.randint(1, 12)) for _ in range(3 if deadly else 0)]
        world = World(seed=seed, weather=weather)
        return await play(
            world,
            start(shape.plan),
            crashes=tuple(crashes),
            instances=instances,
            meanwhile=lambda: resume_for_ever(world),
        )

    return run_virtually(scenario())


async def resume_for_ever(world: World) -> None:
    """A person looks now and then, and has a poisoned step tried again."""
    executor = world.executor(Process("person"))
    while True:
        await world.clock.sleep(30.0)
        with contextlib.suppress(RejectedError, TransientError):
            await executor.steer(RUN, Steering(intervention=Intervention.RESUME, by="alice"))


@named
def test_two_executors_at_once_do_everything_once(shape: Shape) -> None:
    """In calm weather the outcome is that of one executor."""
    for seed in range(HISTORIES):
        played = rough_history(shape, seed, Weather(delay_s=0.05), instances=2, deadly=False)

        assert check(played, repeatable=FORGETFUL) == []
        assert (played.state.ending, standing(played)) == (shape.ending, set(shape.standing))


@named
def test_rough_weather_and_deaths_break_no_promise(shape: Shape) -> None:
    """An order may time out in it, so that a run may fail where it would have worked; never the other way round."""
    endings = []
    for seed in range(HISTORIES):
        played = rough_history(shape, seed, ROUGH, instances=2, deadly=True)

        assert check(played, repeatable=FORGETFUL) == []
        assert played.state.ending == shape.ending or played.state.ending in UNSUCCESSFUL
        endings.append(played.state.ending)
    assert endings.count(shape.ending) >= HISTORIES * 0.8


@named
def test_a_nats_that_is_away_delays_and_changes_nothing(shape: Shape) -> None:
    """It is away when the run begins, in the middle, and for longer than leases last."""
    for seed in range(HISTORIES // 2):
        begin = seed * 0.05
        weather = Weather(delay_s=0.05, away=((begin, begin + 8.0), (begin + 9.0, begin + 11.0)))
        played = rough_history(shape, seed, weather, instances=2, deadly=False)

        assert check(played, repeatable=FORGETFUL) == []
        assert (played.state.ending, standing(played)) == (shape.ending, set(shape.standing))


def test_nothing_is_ordered_while_a_person_holds_the_run() -> None:
    """Pauses come between a decision and its entry, too: the order is then taken back."""
    plan = one(*(step(f"s{n}", worker="local") for n in range(30)))
    pauses = 0
    for seed in range(20):

        async def scenario(seed: int = seed) -> History:
            world = World(seed=seed, weather=Weather(delay_s=0.01))

            async def pause_and_resume() -> None:
                person = world.executor(Process("person"))
                while True:
                    for intervention in (Intervention.PAUSE, Intervention.RESUME):
                        await world.clock.sleep(world.rng.uniform(0.0, 0.2))
                        with contextlib.suppress(RejectedError):
                            await person.steer(RUN, Steering(intervention=intervention, by="alice"))

            return await play(world, start(plan), meanwhile=pause_and_resume)

        played = run_virtually(scenario())
        assert check(played, repeatable=frozenset(f"s{n}" for n in range(30))) == []
        assert played.state.ending is Ending.COMPLETED
        pauses += played.state.interventions
    assert pauses > 100


def test_a_host_that_dies_at_any_moment_repeats_only_what_is_idempotent() -> None:
    """Its successor finds in the table what it had begun, and the run goes on."""
    plan = one(*(step(name, takes_s=0.5) for name in "abc"))
    repeated = 0
    for seed in range(40):
        world_of: list[World] = []

        async def scenario(seed: int = seed, world_of: list[World] = world_of) -> History:
            world = World(seed=seed)
            world_of.append(world)

            async def die() -> None:
                await world.clock.sleep(0.05 + seed * 0.04)
                world.host("host-a").kill()
                await world.clock.sleep(1.0)
                world.host("host-a").restart()

            return await play(world, start(plan), meanwhile=die)

        played = run_virtually(scenario())
        assert check(played, repeatable=frozenset("abc")) == []
        assert (played.state.ending, standing(played)) == (Ending.COMPLETED, set("abc"))
        assert world_of[0].host("host-a").kills == 1
        repeated += len(played.effects) - len({effect.command_id for effect in played.effects})
    assert repeated


def test_an_observable_effect_is_not_repeated_when_its_host_dies() -> None:
    """The successor looks whether it happened."""
    plan = one(step("a", takes_s=0.5), step("b", takes_s=0.5, effect=Effect.OBSERVABLE), step("c"))
    endings = set()
    for seed in range(40):

        async def scenario(seed: int = seed) -> History:
            world = World(seed=seed)

            async def die() -> None:
                await world.clock.sleep(0.3 + seed * 0.03)
                world.host("host-a").kill()
                world.host("host-a").restart()

            return await play(world, start(plan), meanwhile=die)

        played = run_virtually(scenario())
        assert check(played, repeatable=frozenset("ac")) == []
        endings.add(played.state.ending)
    assert Ending.COMPLETED in endings


def test_an_effect_that_must_happen_once_is_left_to_a_person_when_its_host_dies() -> None:
    """Begun and never heard of again: the run pauses, and goes on as the person says."""
    plan = one(Step(id="a", do=call(takes_s=5.0), effect=Effect.ONCE, timeout_s=20.0), step("b"))

    async def scenario() -> tuple[list[str], History]:
        world = World(seed=3)
        seen: list[str] = []

        async def die_and_decide() -> None:
            await world.clock.sleep(1.0)
            world.host("host-a").kill()
            world.host("host-a").restart()
            person = world.executor(Process("person"))
            while (view := await person.view(RUN)) is None or view.status != "paused":
                await world.clock.sleep(1.0)
            seen.append(view.reason)
            done = Steering(intervention=Intervention.MARK_DONE, step="a", by="alice", comment="it is there")
            await person.steer(RUN, done)

        return seen, await play(world, start(plan), meanwhile=die_and_decide)

    seen, played = run_virtually(scenario())
    assert "must not happen twice" in seen[0]
    assert check(played) == []
    assert played.state.ending is Ending.COMPLETED
    assert standing(played) == {"b"}


def test_the_same_seed_gives_the_same_history() -> None:
    """Or a failing seed could not be looked into."""
    first, second = (rough_history(SHAPES[1], 7, ROUGH, instances=2, deadly=True) for _ in range(2))

    assert first.entries == second.entries
    assert first.effects == second.effects


def test_a_run_of_a_thousand_steps_writes_two_entries_for_each() -> None:
    """Journal and effects grow with the steps and with nothing else."""

    def entries_beyond_steps(count: int) -> int:
        played = run_virtually(play(World(), start(one(*(step(f"s{n}", worker="local") for n in range(count))))))
        assert len(played.effects) == count
        return len(played.entries) - 2 * count

    assert entries_beyond_steps(1000) == entries_beyond_steps(10)
