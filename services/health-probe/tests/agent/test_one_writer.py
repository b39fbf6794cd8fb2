"""Never two writers, whatever happens in whatever order.

Renewals and answers are late or lost, agents are paused, killed and restarted, NATS and the direct links come and go,
several coordinators with different epochs revoke and promote, their orders arrive late.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from health_probe.agent import failsafe, lease
from hypothesis import given, settings
from hypothesis import strategies as st
from yaoki.epoch import NO_EPOCH, Epoch

from .writers import World

if TYPE_CHECKING:
    from collections.abc import Callable

    from yaoki.leases import ClusterLease

STEPS = 1000
OFTEN = {
    "one grant is enough": {"pause_or_wake": 2.0, "lose_or_restore_nats": 0.3, "reinstate": 0.0},
    "a grant is forgotten at a reboot": {"reboot": 3.0, "crash": 0.0, "pause_or_wake": 0.1},
}
# Worlds in which nobody notices are passed over; when the rules of the worlds change, the search goes on from here.
FIRST = {"one grant is enough": 2900}


@given(seed=st.integers(0, 2**32))
@settings(max_examples=400, deadline=None)
def test_there_are_never_two_writers(seed: int) -> None:
    """Whatever the order of events."""
    World(seed).run(STEPS)


def test_the_simulation_is_not_idle() -> None:
    """It promotes, renews and grants: otherwise the test above would say nothing."""
    worlds = [World(seed) for seed in range(60)]
    for world in worlds:
        world.run(STEPS)
    found = (
        sum(world.promotions for world in worlds),
        sum(world.store.record.renewals > 2 for world in worlds),
        sum(any(host.grant.seconds for host in world.hosts.values()) for world in worlds),
    )
    assert found > (60, 10, 30), found
    assert min(found) > 10, found


def _broken(name: str) -> tuple[Any, str, Callable[..., Any]]:
    def too_late(sent: float, record: ClusterLease) -> float:
        return sent + record.ttl_s + 2 * record.margin_s

    def ignores_grants(record: ClusterLease | None, member: str, epoch: Epoch, *, granted_s: float) -> object:
        return promotion_obstacle(record, member, epoch, granted_s=granted_s * 0)

    def ignores_epochs(record: ClusterLease | None, member: str, epoch: Epoch, *, granted_s: float) -> object:
        anyhow = None if record is None else msgspec.structs.replace(record, epoch=NO_EPOCH, revoked_epoch=NO_EPOCH)
        return promotion_obstacle(anyhow, member, epoch, granted_s=granted_s)

    promotion_obstacle = lease.promotion_obstacle
    rules: dict[str, tuple[Any, str, Callable[..., Any]]] = {
        "a deadline after the lease": (lease, "deadline_after", too_late),
        "a promotion against a grant": (lease, "promotion_obstacle", ignores_grants),
        "a lost lease is kept": (lease, "settle", lambda *_: lease.Settled.AGAIN),
        "an order of an old epoch is obeyed": (lease, "promotion_obstacle", ignores_epochs),
        "one grant is enough": (failsafe, "may_extend", lambda _needed, granting: bool(granting)),
        "a grant is forgotten at a reboot": (failsafe, "after_restart", lambda *_: failsafe.Grant()),
        "a revoked holder renews": (lease, "standing", _by_name),
    }
    return rules[name]


def _by_name(record: ClusterLease, member: str) -> lease.Standing:
    return lease.Standing.HOLDER if record.holder == member else lease.Standing.OTHER


@pytest.mark.parametrize(
    "name",
    [
        "a deadline after the lease",
        "a promotion against a grant",
        "a lost lease is kept",
        "an order of an old epoch is obeyed",
        "one grant is enough",
        "a grant is forgotten at a reboot",
        "a revoked holder renews",
    ],
)
def test_the_simulation_finds_a_rule_that_is_broken(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each protection taken out alone lets two write, and the test above would show it."""
    monkeypatch.setattr(*_broken(name))
    first = FIRST.get(name, 0)
    for seed in range(first, first + 8000):
        try:
            World(seed, OFTEN.get(name)).run(STEPS)
        except AssertionError:
            return
    pytest.fail(f"8000 worlds passed although {name}")
