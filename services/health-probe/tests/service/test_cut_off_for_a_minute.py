"""Probers that are cut off for a whole minute at the default lease; `make test` does the same in seconds."""

from __future__ import annotations

import time

import pytest
from yaoki.config.model import ProbeSection
from yaoki.testing import eventually

from .several import SeveralProbers

pytestmark = [pytest.mark.real, pytest.mark.chaos, pytest.mark.timeout(900)]

CUT_OFF_S = 60.0
DEFAULT_LEASE = f"{ProbeSection().lease:g}s"
STORY = ["TargetSuspected", "FailureDetected", "FailureCleared"]


async def passed(since: float) -> None:
    """Wait until the minute is over."""
    await eventually(lambda: time.monotonic() - since > CUT_OFF_S, within=2 * CUT_OFF_S)


@pytest.mark.parametrize("silently", [False, True])
async def test_a_failure_within_the_minute_is_told_once_and_by_the_other(*, silently: bool) -> None:
    """The one that was cut off saw everything fail, and comes back with that: nobody hears of it."""
    async with SeveralProbers({"prober-1": "local", "prober-2": "local"}, targets=8, lease=DEFAULT_LEASE) as several:
        await several.start()
        await several.wait_owners("local", {"prober-1", "prober-2"})
        since = time.monotonic()
        await several.probers["prober-1"].cut_off(silently=silently)
        await several.wait_owners("local", {"prober-2"})
        await several.all_well()
        quiet = {target: await several.told(target) for target in several.targets}
        assert not any("FailureDetected" in told for told in quiet.values()), several.logs()

        await several.redis.kill()
        for target in several.targets:
            await several.wait_told(target, [*quiet[target], *STORY[:2]])
        await several.redis.start()
        for target in several.targets:
            await several.wait_told(target, [*quiet[target], *STORY])
        await passed(since)
        await several.probers["prober-1"].let_back()
        await several.wait_owners("local", {"prober-1", "prober-2"}, within=60.0)
        await several.more_results("local", results=5)
        await several.all_well()
        for target in several.targets:
            assert await several.told(target) == [*quiet[target], *STORY], several.logs()

        await several.redis.kill()
        for target in several.targets:
            await several.wait_told(target, [*quiet[target], *STORY, *STORY[:2]])


@pytest.mark.parametrize("silently", [False, True])
async def test_two_of_three_vantages_cut_off_for_a_minute_hide_nothing_for_ever(*, silently: bool) -> None:
    """What fails meanwhile cannot be told by one vantage alone; it is as soon as another can see it."""
    vantages = {"tokyo-1": "tokyo", "osaka-1": "osaka", "kyoto-1": "kyoto"}
    async with SeveralProbers(vantages, targets=2, lease=DEFAULT_LEASE) as several:
        await several.start()
        since = time.monotonic()
        for name in ("osaka-1", "kyoto-1"):
            await several.probers[name].cut_off(silently=silently)
        await eventually(lambda: unknown(several), within=60.0)
        await several.redis.kill()
        await passed(since)
        for target in several.targets:
            assert "FailureDetected" not in await several.told(target), several.logs()
        for name in ("osaka-1", "kyoto-1"):
            await several.probers[name].let_back()

        async def detected_once() -> bool:
            for target in several.targets:
                assert (await several.told(target)).count("FailureDetected") == 1, several.logs()
            return True

        await eventually(detected_once, within=60.0)
        await several.redis.start()
        await several.all_well()
        for target in several.targets:
            told = await several.told(target)
            assert (told.count("FailureDetected"), told.count("FailureCleared")) == (1, 1), several.logs()


async def unknown(several: SeveralProbers) -> bool:
    """Whether one vantage alone no longer makes a verdict."""
    for target in several.targets:
        verdict = await several.verdict(target)
        assert verdict is not None
        assert verdict.state == "unknown"
    return True
