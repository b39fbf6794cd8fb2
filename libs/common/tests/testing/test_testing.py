"""The tools of the tests themselves."""

from __future__ import annotations

import pytest
from yaoki.testing import eventually, faults


async def test_eventually_returns_the_first_true_value() -> None:
    answers = iter([0, "", None, 7])
    assert await eventually(lambda: next(answers)) == 7


async def test_eventually_takes_coroutines_and_assertions() -> None:
    tries = 0

    async def condition() -> bool:
        nonlocal tries
        tries += 1
        assert tries == 3
        return True

    assert await eventually(condition)


async def test_eventually_says_what_it_saw_last() -> None:
    with pytest.raises(AssertionError, match=r"not true within 0.05 s; at last: \[\]"):
        await eventually(list, within=0.05)


def test_an_unarmed_point_does_nothing() -> None:
    faults.point("anywhere")


def test_an_armed_point_runs_its_action_only_within_the_block() -> None:
    passes: list[int] = []
    with faults.armed("here", lambda: passes.append(1)):
        faults.point("here")
        faults.point("elsewhere")
    faults.point("here")
    assert passes == [1]
