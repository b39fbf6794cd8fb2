"""Who may take over in a switchover, and when a standby has everything."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from recovery.candidates import NoCandidate
from recovery.initial_routes import FIRST_ROUTE
from recovery.switchover import Healthy, Successor, choose_successor, cooling_until, has_everything
from yaoki.config import PostgresMember
from yaoki.flags import Route, RouteState

from .builders import T0, record, status

if TYPE_CHECKING:
    from yaoki.commands.agent import AgentStatus

HOLDER = status("pg-a", role="primary", holder=True)


def standby(member: str = "pg-b", **changes: Any) -> AgentStatus:
    return status(member, **{"upstream_connected": True, **changes})


def seen(*standbys: AgentStatus, **changes: Any) -> Healthy:
    members = {
        name: PostgresMember(agent=name, host="127.0.0.1", port=5000, promotable=name != "pg-x")
        for name in ("pg-a", "pg-b", "pg-c", "pg-x")
    }
    values: dict[str, Any] = {
        "record": record(),
        "holder": HOLDER,
        "standbys": standbys,
        "members": members,
        "max_lag_bytes": 100,
    }
    return Healthy(**{**values, **changes})


def test_the_standby_that_has_most_takes_over() -> None:
    chosen = choose_successor(seen(standby(replayed=950), standby("pg-c", replayed=990)))

    assert chosen == Successor(member="pg-c", previous="pg-a", lag_bytes=0, followers=("pg-b",))


def test_the_one_that_is_named_takes_over() -> None:
    chosen = choose_successor(seen(standby(received=960, replayed=950), standby("pg-c")), "pg-b")

    assert chosen == Successor(member="pg-b", previous="pg-a", lag_bytes=40, followers=("pg-c",))


@pytest.mark.parametrize(
    ("cluster", "to", "reason"),
    [
        (seen(standby(), record=None), "", "nobody holds the lease"),
        (seen(standby(), record=record(revoked_by="run-9")), "", "nobody holds the lease"),
        (seen(standby(), holder=None), "", "does not serve"),
        (seen(standby(), holder=status("pg-a", role="primary")), "", "does not serve"),
        (seen(), "", "no standby's agent answers"),
        (seen(standby("pg-c")), "pg-b", "the agent of pg-b does not answer"),
        (seen(standby()), "pg-a", "expected one of pg-b, pg-c, pg-x"),
        (seen(standby()), "pg-q", "expected one of pg-b, pg-c, pg-x"),
        (seen(standby("pg-x")), "", "configured not to be promoted"),
        (seen(standby(accepting=False)), "", "accepts connections"),
        (seen(standby(role="unknown")), "", "accepts connections"),
        (seen(standby(upstream_connected=False)), "", "does not stream"),
        (seen(standby(timeline=2)), "", "timeline 2, not 1"),
        (seen(standby(received=899, replayed=800)), "", "lacks 101 bytes of WAL, the limit is 100"),
        (seen(standby(granted_s=1.5)), "", "has granted the holder 1.5 s more"),
    ],
)
def test_nobody_takes_over_when_something_is_missing(cluster: Healthy, to: str, reason: str) -> None:
    chosen = choose_successor(cluster, to)

    assert isinstance(chosen, NoCandidate)
    assert reason in chosen.reason


@pytest.mark.parametrize(
    ("answer", "complete"),
    [
        (standby(upstream_connected=False, replayed=501), True),
        (standby(replayed=500), False),
        (standby(received=900, replayed=500), False),
        (standby(replayed=900, timeline=2), False),
        (standby(replayed=900, role="primary"), False),
        (standby(replayed=900, accepting=False), False),
        (None, False),
    ],
)
def test_only_a_standby_that_has_replayed_the_last_record_has_everything(
    answer: AgentStatus | None, *, complete: bool
) -> None:
    """The record begins at 500: having replayed up to there is not having replayed it."""
    assert has_everything(answer, position=500, timeline=1) is complete


@pytest.mark.parametrize(("by", "cools"), [(FIRST_ROUTE, False), ("run-1", True)])
def test_a_primary_that_was_changed_stays_for_a_while(by: str, *, cools: bool) -> None:
    route = Route(cluster="orders", state=RouteState.SERVING, since=T0, by=by)

    assert cooling_until(route, 180.0) == (T0 + timedelta(seconds=180) if cools else None)
    assert cooling_until(None, 180.0) is None
