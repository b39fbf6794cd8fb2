"""Where a query goes: pure decisions."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from yaoki.epoch import Epoch
from yaoki.flags import Endpoint, Route, RouteState
from yaoki.sdk.routing import ReplicaRing, supersedes, writable

A = Endpoint(member="pg-a", host="127.0.0.1", port=1)
B = Endpoint(member="pg-b", host="127.0.0.1", port=2)
C = Endpoint(member="pg-c", host="127.0.0.1", port=3)


def a_route(state: RouteState = RouteState.SERVING, epoch: Epoch = Epoch(1, 1)) -> Route:  # noqa: B008 - frozen
    return Route(cluster="orders", state=state, epoch=epoch, primary=A, since=datetime.now(UTC))


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        (None, None),
        (a_route(RouteState.CUT), None),
        (a_route(RouteState.SERVING), A),
        (a_route(RouteState.DEGRADED), A),
    ],
)
def test_nothing_is_written_while_the_route_is_cut_or_unknown(route: Route | None, expected: Endpoint | None) -> None:
    """An old primary that is being fenced must not get one more write from us."""
    assert writable(route) == expected


def test_an_older_epoch_never_replaces_a_newer_one() -> None:
    """A late message must not lead back to a fenced primary."""
    older, newer = a_route(epoch=Epoch(1, 5)), a_route(epoch=Epoch(2, 1))

    assert supersedes(newer, older)
    assert not supersedes(older, newer)
    assert supersedes(older, None)


def test_replicas_take_turns() -> None:
    """Each is chosen equally often."""
    ring = ReplicaRing()

    chosen = [ring.choose((A, B, C), now=0.0) for _ in range(9)]

    assert sorted(one.member for one in chosen if one) == ["pg-a"] * 3 + ["pg-b"] * 3 + ["pg-c"] * 3


def test_a_failing_replica_rests_longer_each_time_and_returns() -> None:
    """One second, then two; a success wipes the slate."""
    ring = ReplicaRing()

    ring.failed(A, now=0.0)
    assert ring.choose((A,), now=0.9) is None
    assert ring.choose((A,), now=1.0) == A

    ring.failed(A, now=1.0)
    assert ring.choose((A,), now=2.9) is None
    assert ring.choose((A, B), now=2.9) == B

    ring.succeeded(A)
    assert ring.choose((A,), now=2.9) == A


def test_a_replica_never_rests_longer_than_half_a_minute() -> None:
    """However often it failed, a returned replica is used again soon."""
    ring = ReplicaRing()

    for _ in range(100):
        ring.failed(A, now=0.0)

    assert ring.choose((A,), now=30.0) == A


def test_without_replicas_there_is_none_to_choose() -> None:
    """The caller then reads from the primary."""
    assert ReplicaRing().choose((), now=0.0) is None
