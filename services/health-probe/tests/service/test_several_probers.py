"""Probers that die, stop, are cut off and come back: no false failure, no lost one, nothing told twice."""

from __future__ import annotations

import sys

import pytest
from yaoki.commands.probe import CheckReply, CheckTarget, ListTargets
from yaoki.errors import TransientError
from yaoki.events.probe import Ballot, FailureDetected, ProbeStatus
from yaoki.testing import eventually

from .several import SeveralProbers

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

STORY = ["TargetSuspected", "FailureDetected", "FailureCleared"]
PAIR = {"prober-1": "local", "prober-2": "local"}
THREE = {"tokyo-1": "tokyo", "osaka-1": "osaka", "kyoto-1": "kyoto"}


async def fail_and_clear(several: SeveralProbers) -> None:
    """A true failure of everything, and its end: told in full, once, for each target."""
    await several.all_well()
    before = {target: await several.told(target) for target in several.targets}
    assert not any("FailureDetected" in told for told in before.values()), several.logs()
    await several.redis.kill()
    for target in several.targets:
        await several.wait_told(target, [*before[target], *STORY[:2]])
    await several.redis.start()
    for target in several.targets:
        await several.wait_told(target, [*before[target], *STORY])


async def test_targets_of_a_killed_prober_are_taken_over() -> None:
    """At the default lease; a failure that began before its owner died is cleared by the other."""
    async with SeveralProbers(PAIR, targets=8, lease="5s") as several:
        await several.start()
        before = await several.wait_owners("local", set(PAIR))
        await several.redis.kill()
        for target in several.targets:
            await several.wait_told(target, STORY[:2])

        await several.processes.kill("prober-1")
        after = await several.wait_owners("local", {"prober-2"}, within=10.0)
        await several.redis.start()
        for target in several.targets:
            await several.wait_told(target, STORY)

        assert "prober-1" in before.values()
        assert set(after.values()) == {"prober-2"}


async def test_a_prober_that_stops_hands_over_and_one_that_comes_gets_its_share() -> None:
    """With a lease of ten minutes nobody waits for it to lapse."""
    async with SeveralProbers(PAIR, targets=8, lease="10m") as several:
        await several.start("prober-1")
        several.launch("prober-2")
        await several.wait_owners("local", set(PAIR), within=60.0)

        assert await several.processes.stop("prober-2", within=60.0) == 0, several.processes.tail("prober-2")
        await several.wait_owners("local", {"prober-1"})
        several.processes.start_again("prober-2")
        await several.wait_owners("local", set(PAIR), within=60.0)

        await fail_and_clear(several)


async def test_a_paused_prober_wakes_to_what_others_have_seen_meanwhile() -> None:
    """It is stopped in the middle of a failure that is over when it wakes."""
    async with SeveralProbers(PAIR, targets=8) as several:
        await several.start()
        await several.wait_owners("local", set(PAIR))
        await several.redis.kill()

        async def suspected() -> bool:
            return any([await several.told(target) for target in several.targets])

        await eventually(suspected, within=20.0)
        several.processes.pause("prober-1")
        for target in several.targets:
            await several.wait_told(target, STORY[:2])
        await several.redis.start()
        for target in several.targets:
            await several.wait_told(target, STORY)
        several.processes.resume("prober-1")
        await several.wait_owners("local", set(PAIR))
        await several.more_results("local")
        await several.all_well()

        for target in several.targets:
            assert await several.told(target) == STORY, several.logs()


@pytest.mark.parametrize("silently", [False, pytest.param(True, marks=pytest.mark.chaos)])
async def test_a_prober_that_is_cut_off_tells_nothing_of_what_it_believed_to_see(*, silently: bool) -> None:
    """It reaches neither NATS nor the targets for many leases; the other takes over and tells a true failure."""
    async with SeveralProbers(PAIR, targets=8) as several:
        await several.start()
        await several.wait_owners("local", set(PAIR))
        await several.probers["prober-1"].cut_off(silently=silently)
        await several.wait_owners("local", {"prober-2"})
        await several.more_results("local", results=5)
        await several.probers["prober-1"].let_back()
        await several.wait_owners("local", set(PAIR))
        await several.more_results("local", results=5)

        await fail_and_clear(several)


@pytest.mark.parametrize("silently", [False, True])
async def test_two_of_three_vantages_cut_off_make_no_failure_and_hide_none(*, silently: bool) -> None:
    async with SeveralProbers(THREE, targets=2) as several:
        await several.start()
        for name in ("osaka-1", "kyoto-1"):
            await several.probers[name].cut_off(silently=silently)

        async def unknown() -> bool:
            for target in several.targets:
                verdict = await several.verdict(target)
                assert verdict is not None
                assert verdict.state == "unknown"
            return True

        await eventually(unknown, within=30.0)
        for name in ("osaka-1", "kyoto-1"):
            await several.probers[name].let_back()
        await several.all_well()

        await fail_and_clear(several)


async def test_a_failure_while_a_vantage_is_cut_off_is_told_by_the_other_two() -> None:
    async with SeveralProbers(THREE) as several:
        await several.start()
        await several.probers["kyoto-1"].cut_off()
        await several.redis.kill()
        await several.wait_told("cache-0", STORY[:2])
        await several.probers["kyoto-1"].let_back()
        await several.redis.start()
        await several.wait_told("cache-0", STORY)

        detected = next(event for event in await several.events() if isinstance(event, FailureDetected))
        ballots = {vote.vantage: vote.ballot for vote in detected.votes}
        assert (ballots["tokyo"], ballots["osaka"]) == (Ballot.FAILED, Ballot.FAILED)


async def test_one_vantage_that_sees_a_failure_alone_is_a_disagreement() -> None:
    """Told once it has lasted, and again when it is over; no failure is."""
    async with SeveralProbers(THREE, lease="10m", disagreement_after="1s") as several:
        await several.start()
        await several.probers["osaka-1"].to_targets.cut()
        await several.wait_told("cache-0", ["TargetSuspected", "VantageDisagreement"])
        await several.more_results("osaka")

        async def outvoted() -> bool:
            verdict = await several.verdict("cache-0")
            assert verdict is not None
            assert (verdict.state, verdict.disagreement_since is not None) == ("healthy", True)
            return True

        await eventually(outvoted, within=30.0)
        await several.probers["osaka-1"].to_targets.restore()
        await several.wait_told("cache-0", ["TargetSuspected", "VantageDisagreement", "VantageAgreement"])


async def test_a_failed_parent_explains_its_child_whoever_watches_which() -> None:
    """The prober that watches the parent may stand still: its child waits for it as long as a probe may take."""
    depends_on = {"cache-1": "cache-0", "cache-3": "cache-1"}
    async with SeveralProbers(PAIR, targets=4, lease="10m", timeout="15s", depends_on=depends_on) as several:
        await several.start()
        await several.wait_owners("local", set(PAIR))
        await several.redis.kill()
        for target in ("cache-0", "cache-2"):
            await several.wait_told(target, STORY[:2])

        async def explained() -> bool:
            verdicts = [await several.verdict(target) for target in ("cache-1", "cache-3")]
            return all(verdict is not None and verdict.suppressed_by is not None for verdict in verdicts)

        await eventually(explained, within=30.0)
        await several.redis.start()
        await several.all_well()

        told = {target: await several.told(target) for target in several.targets}
        assert told == {"cache-0": STORY, "cache-1": STORY[:1], "cache-2": STORY, "cache-3": STORY[:1]}


async def test_checks_are_made_by_whoever_does_not_watch_and_lists_show_the_whole() -> None:
    async with SeveralProbers(PAIR, targets=4, lease="10m") as several:
        await several.start()
        owners = await several.wait_owners("local", set(PAIR))

        replies: list[CheckReply] = [
            await several.messaging.request(CheckTarget(target=target)) for target in several.targets for _ in range(4)
        ]
        lists = [await several.messaging.request(ListTargets()) for _ in range(4)]

        assert all(reply.prober != owners[reply.target] and reply.vantage == "local" for reply in replies)
        for listed in lists:
            assert [view.target for view in listed.targets] == several.targets
            assert [(verdict.target, verdict.state) for verdict in listed.verdicts] == [
                (target, "healthy") for target in several.targets
            ]


async def test_a_check_is_answered_though_the_other_prober_is_paused() -> None:
    """Of the questions that come to the one that is awake, none waits for the other."""
    async with SeveralProbers(PAIR, targets=8, lease="10m") as several:
        await several.start()
        owners = await several.wait_owners("local", set(PAIR))
        target = next(target for target, owner in owners.items() if owner == "prober-1")
        several.processes.pause("prober-2")

        async def answered() -> CheckReply | None:
            request = CheckTarget(target=target, timeout_s=0.5)
            try:
                reply: CheckReply = await several.messaging.request(request, timeout_s=1.5)
            except TransientError:
                return None  # NATS gave it to the paused one
            return reply

        reply = await eventually(answered, within=30.0)
        several.processes.resume("prober-2")

        assert reply is not None
        assert (reply.prober, reply.result.status) == ("prober-1", ProbeStatus.HEALTHY)


async def test_two_processes_of_one_name_are_refused() -> None:
    """The one that wrote first when both renew the lease ends and says why: nobody could tell them apart."""
    async with SeveralProbers({"prober-1": "local"}) as several:
        await several.start()
        several.probers["prober-9"] = several.probers["prober-1"]
        argv = ["--config", "prober-1.yaml", "--instance", "prober-1", "--vantage", "local"]
        several.processes.start("prober-9", [sys.executable, "-m", "health_probe", *argv])
        names = ("prober-1", "prober-9")
        ended = await eventually(lambda: [name for name in names if not several.processes.running(name)], within=20.0)

        assert [several.processes.exit_status(name) for name in ended] == [70]
        assert "give each process a name of its own" in several.processes.tail(ended[0])
        await fail_and_clear(several)
