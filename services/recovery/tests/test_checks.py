"""An action has worked when a fresh probe says so twice in a row; unknown is not well."""

from __future__ import annotations

import pytest
from recovery.steps.checks import CheckSteps
from yaoki.events.probe import ProbeStatus
from yaoki.runs.errors import ActionFailedError, PreconditionFailedError

from .builders import order
from .fakes import HandClock, ScriptedProber

WELL, ILL, UNKNOWN = ProbeStatus.HEALTHY, ProbeStatus.UNHEALTHY, ProbeStatus.UNKNOWN


@pytest.mark.parametrize(
    ("states", "verified"),
    [
        ((WELL, WELL), True),
        ((WELL, ProbeStatus.DEGRADED), True),
        ((WELL, ILL), False),
        ((ILL, WELL), False),
        ((WELL, UNKNOWN), False),
        ((UNKNOWN,), False),
    ],
)
async def test_two_successes_in_a_row(states: tuple[ProbeStatus, ...], *, verified: bool) -> None:
    steps = CheckSteps(ScriptedProber(*states), HandClock())
    check = order("check-target", {"target": "orders-db"})

    if verified:
        assert (await steps.check_target(check)).result["status"] in {"healthy", "degraded"}
        return
    with pytest.raises(ActionFailedError, match="orders-db is"):
        await steps.check_target(check)


async def test_a_failure_that_is_gone_needs_no_action() -> None:
    steps = CheckSteps(ScriptedProber(WELL), HandClock())

    assert (await steps.recheck(order("recheck", {"target": "orders-db"}))).result["status"] == "healthy"


async def test_a_failure_that_is_still_there_is_acted_on_at_once() -> None:
    prober = ScriptedProber(ILL)

    with pytest.raises(PreconditionFailedError, match="still unhealthy"):
        await CheckSteps(prober, HandClock()).recheck(order("recheck", {"target": "orders-db"}))
    assert prober.asked == ["orders-db"]
