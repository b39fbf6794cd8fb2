"""What follows from the words of several Sentinels."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recovery.chains import plan_for
from recovery.sentinel import SentinelsSilentError, SentinelView, followed, newest, route_to
from yaoki.config import Address, RedisGroup, Sentinels
from yaoki.epoch import NO_EPOCH, Epoch
from yaoki.events.probe import FailureType
from yaoki.flags import Route, RouteState
from yaoki.plans import Plan

from .builders import T0, config

SETTINGS = Sentinels(addresses=tuple(Address("127.0.0.1", 26379 + index) for index in range(3)), master="cache")
ONE, TWO = Address("127.0.0.1", 6379), Address("127.0.0.1", 6380)


def view(index: int, master: Address = ONE, *, config_epoch: int = 0) -> SentinelView:
    return SentinelView(
        sentinel=SETTINGS.addresses[index], master=master, config_epoch=config_epoch, replicas=(ONE, TWO)
    )


def published(master: Address = ONE, epoch: Epoch = NO_EPOCH) -> Route:
    return route_to("cache", view(0, master), epoch=epoch, now=T0, reason="first")


@given(
    answers=st.lists(st.tuples(st.sampled_from([ONE, TWO]), st.integers(0, 5)), max_size=3),
    size=st.integers(1, 7),
)
def test_a_minority_is_never_believed_and_the_newest_is(answers: list[tuple[Address, int]], size: int) -> None:
    """Whoever was cut off with an old configuration goes on telling it."""
    settings = msgspec.structs.replace(SETTINGS, addresses=tuple(Address("s", 1 + index) for index in range(size)))
    views = [view(index, master, config_epoch=epoch) for index, (master, epoch) in enumerate(answers[:size])]

    if len(views) * 2 <= size:
        with pytest.raises(SentinelsSilentError, match=f"{len(views)} of {size} Sentinels"):
            newest(settings, views)
    else:
        assert newest(settings, views).config_epoch == max(one.config_epoch for one in views)


@given(epoch=st.builds(Epoch, st.integers(0, 3), st.integers(0, 1000)), now=st.sampled_from([ONE, TWO]))
def test_the_route_follows_with_a_higher_epoch_or_stays(epoch: Epoch, now: Address) -> None:
    """Clients keep their connections until they see a higher epoch."""
    route = followed("cache", published(ONE, epoch), view(0, now), T0)

    if now == ONE:
        assert route is None
    else:
        assert route is not None
        assert route.epoch > epoch
        assert (route.primary and route.primary.port, [one.port for one in route.replicas]) == (TWO.port, [ONE.port])


def test_the_first_route_is_published_and_a_cut_one_is_left_to_who_cut_it() -> None:
    first = followed("cache", None, view(0), T0)
    cut = msgspec.structs.replace(published(ONE, Epoch(1, 5)), state=RouteState.CUT)

    assert first is not None
    assert (first.epoch, first.state) == (NO_EPOCH, RouteState.SERVING)
    assert followed("cache", cut, view(0, TWO), T0) is None


def test_where_sentinel_decides_no_agent_is_ordered_to_promote() -> None:
    """Two who promote would undo each other."""
    base = config()
    settings = msgspec.structs.replace(base, redis_groups={"cache": RedisGroup(sentinel=SETTINGS)})

    plan = plan_for(settings, "orders-cache", FailureType.REDIS_CONNECTION, recheck=False)

    assert isinstance(plan, Plan)
    switch = next(branch for branch in plan.branches if branch.name == "switch-redis")
    assert [step.id for step in switch.steps] == [
        "confirm-master-lost",
        "order-sentinel-failover",
        "write-through-master",
        "publish-sentinel-route",
    ]
    assert {step.do.worker for step in switch.steps} == {"recovery"}
