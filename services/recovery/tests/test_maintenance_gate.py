"""Whether planned maintenance holds a run's disruptive actions back."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from recovery.maintenance_gate import MaintenanceGate, hold_of
from yaoki import maintenance
from yaoki.maintenance import MaintenanceWindow, WindowBook
from yaoki.runs.fold import fold
from yaoki.runs.ports import Recorded
from yaoki.subjects import Subjects
from yaoki.tasks import end_tasks
from yaoki.testing import InMemoryKeyValue, eventually

from .builders import T0, config, failure
from .fakes import HandClock

if TYPE_CHECKING:
    from yaoki.runs import Hold, RunState

HOUR = timedelta(hours=1)


def window(**changes: Any) -> MaintenanceWindow:
    values: dict[str, Any] = {
        "window_id": "window-1",
        "targets": ("orders-db",),
        "start": T0,
        "end": T0 + HOUR,
        "announced_at": T0 - 49 * HOUR,
        "announced_by": "ada",
    }
    return MaintenanceWindow(**{**values, **changes})


def asked(*windows: MaintenanceWindow, minutes: int = 30, target: str = "orders-db", by: str = "policy") -> Hold | None:
    at = T0 + timedelta(minutes=minutes)
    return hold_of(windows, target=target, started_by=by, at=at, how_to_go_on="nats req")


def automatic_run() -> RunState:
    from recovery.intake import decide  # noqa: PLC0415 - beside its only use

    start: Any = decide(config(), failure(), sequence=1, cleared=None)
    state = fold([Recorded(event=start.entry(), id="1", sequence=1, at=T0)])
    assert state is not None
    return state


def test_an_open_window_of_the_target_holds_until_its_end() -> None:
    hold = asked(window())

    assert hold is not None
    assert (hold.name, hold.until) == ("window-1", T0 + HOUR)
    assert "ada" in hold.reason
    assert "nats req" in hold.reason


@pytest.mark.parametrize(
    ("changes", "minutes"),
    [
        ({}, -1),
        ({}, 60),
        ({"targets": ("orders-cache",)}, 30),
        ({"cancelled_at": T0 - HOUR, "cancelled_by": "ada"}, 30),
    ],
)
def test_before_after_elsewhere_and_cancelled_hold_nothing(changes: dict[str, Any], minutes: int) -> None:
    assert asked(window(**changes), minutes=minutes) is None


def test_a_window_of_all_targets_holds_each() -> None:
    assert asked(window(targets=())) is not None


def test_what_a_person_ordered_is_not_held() -> None:
    assert asked(window(), by="alice") is None


async def test_a_record_that_cannot_be_read_holds_until_it_is_repaired() -> None:
    slo, clock = InMemoryKeyValue(), HandClock()
    gate = MaintenanceGate(slo, Subjects(), clock)
    run = automatic_run()
    await gate.begin()
    assert gate(run, clock.now()) is None

    following = asyncio.create_task(gate.follow())
    await slo.put(maintenance.KEY, b"\xff not a record")
    held = await eventually(lambda: _asked(gate, run), within=10)
    await slo.put(maintenance.KEY, msgspec.json.encode(WindowBook(windows=(window(),))))
    open_now = await eventually(lambda: _asked(gate, run, "window-1"), within=10)
    await end_tasks([following])

    assert held is not None
    assert open_now is not None
    assert "cannot be read" in held.reason
    assert f'"run_id": "{run.run_id}"' in open_now.reason


async def _asked(gate: MaintenanceGate, run: RunState, name: str = "") -> Hold | None:
    hold = gate(run, T0 + timedelta(minutes=1))
    return hold if hold is not None and (not name or hold.name == name) else None
