"""An executor dies at every index of the journal, in four ways; another finishes, and the world is as without."""

from __future__ import annotations

import pytest
from yaoki.testing.simulation import Crash, CrashPoint, History, World, check, play, run_virtually, standing

from .plans import SHAPES, Shape, start

FORGETFUL = frozenset({"s0", "s3", "s6", "s9"})
"""Steps of the in-process worker, which remembers nothing after a crash: their effects are idempotent."""

named = pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)


def history(shape: Shape, *crashes: Crash, seed: int = 0) -> History:
    """One run of a shape."""

    async def scenario() -> History:
        return await play(World(seed=seed), start(shape.plan), crashes=crashes)

    return run_virtually(scenario())


def assert_kept(shape: Shape, played: History) -> None:
    """The promises are kept, and the end is the one that the plan has without faults."""
    assert check(played, repeatable=FORGETFUL) == []
    assert (played.state.ending, standing(played)) == (shape.ending, set(shape.standing))


@named
def test_a_run_without_faults_ends_as_planned(shape: Shape) -> None:
    """The reference that the histories with faults are compared with."""
    played = history(shape)

    assert_kept(shape, played)
    assert played.deaths == 0


@named
@pytest.mark.parametrize("point", CrashPoint)
def test_death_at_every_index_changes_nothing_of_the_outcome(shape: Shape, point: CrashPoint) -> None:
    """Exhaustive: the index moves on until a run ends without passing it."""
    index, deaths = 1, 0
    while True:
        played = history(shape, Crash(point, index), seed=index)
        assert_kept(shape, played)
        if not played.deaths:
            break
        index, deaths = index + 1, deaths + 1
    assert deaths >= 2


@named
def test_death_after_death_changes_nothing_of_the_outcome(shape: Shape) -> None:
    """The successor dies as well, of its second entry, which is stored after its death."""
    deaths = 0
    for index in range(1, 9):
        crashes = (Crash(CrashPoint.APPEND_ACKED, index), Crash(CrashPoint.APPEND_UNSEEN, 2))
        played = history(shape, *crashes, seed=index)
        assert_kept(shape, played)
        deaths += played.deaths
    assert deaths >= 12
