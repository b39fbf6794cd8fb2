"""Every line of docs/slo.md that begins with `nats` works as it stands, with the real command, in the guide's order."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from yaoki.messaging import Messaging, NatsSettings
from yaoki.testing import eventually

from .harness.guide import Line, answer, documented_lines, run, shown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from yaoki_cli.local.system import LocalSystem

pytestmark = [pytest.mark.real, pytest.mark.nats_cli, pytest.mark.timeout(400)]

LINES = [line for line in documented_lines("slo.md") if line.complete]
REFUSED = next(line for line in LINES if "2026-01-01T00:00:00Z" in line.command)
ANNOUNCED = next(line for line in LINES if "slo.announce" in line.command and "new-disks" in line.command)


@pytest_asyncio.fixture
async def messaging(local_system: LocalSystem) -> AsyncIterator[Messaging]:
    settings = NatsSettings(servers=(local_system.stack().nats.urls[0],), require_sync=False)
    async with Messaging.connect(settings, service="test", instance="test-1") as connected:
        yield connected


@pytest.fixture(scope="session")
def recorded(local_system: LocalSystem) -> LocalSystem:
    """With a window on record: lines may be run by another worker than those before them in the guide."""
    day = datetime.now(UTC) + timedelta(days=8)
    window = {"start": f"{day:%F}T17:00:00Z", "end": f"{day:%F}T17:10:00Z", "by": "ada", "targets": ["orders-cache"]}
    answer(run(local_system, f"nats req yaoki.api.slo.announce '{json.dumps(window)}'"))
    return local_system


async def test_the_ledger_is_kept_from_the_start(messaging: Messaging) -> None:
    """What the lines of the guide read is there as soon as the first minute is decided."""
    slo = messaging.kv("slo")

    async def decided() -> bool:
        return bool(await slo.keys("ledger."))

    assert await eventually(decided, within=180, poll=0.5)


def test_the_guide_has_lines_to_copy() -> None:
    assert len(LINES) >= 15


@pytest.mark.parametrize("line", [line for line in LINES if line != REFUSED], ids=lambda line: line.command[:60])
def test_a_documented_line_is_understood(recorded: LocalSystem, line: Line, tmp_path: Path) -> None:
    """It neither fails nor is answered with an error."""
    if "slo.cancel" in line.command:
        answer(run(recorded, ANNOUNCED))  # the same again is the same window
    finished = run(recorded, line, cwd=tmp_path)

    assert "no responders" not in shown(finished)
    assert "Nats-Service-Error-Code" not in shown(finished), shown(finished)
    assert "nats: error" not in shown(finished)
    assert "Traceback" not in shown(finished)
    if not line.streaming:
        assert finished.returncode == 0, shown(finished)
    if line.command.startswith("nats req") and "|" not in line.command:
        assert answer(finished)
    if "report.html" in line.command:
        assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_refusal_names_every_rule_that_is_broken(local_system: LocalSystem) -> None:
    finished = run(local_system, REFUSED)

    assert "412" in shown(finished)
    for rule in ("rule notice", "rule hours", "rule monthly"):
        assert rule in shown(finished)


@pytest.mark.parametrize(
    ("subject", "body", "names"),
    [
        ("status", {"service_name": "order"}, "orders"),
        ("report", {"service_name": "orders", "month": "November"}, "calendar month"),
        ("report", {"service_name": "orders", "format": "pdf"}, "markdown"),
        ("announce", {"by": "ada"}, "start"),
        ("announce", {"start": "tomorrow", "end": "2026-12-10T03:00:00Z", "by": "ada"}, "start"),
        ("announce", {"targets": ["order-api"]}, "orders-api"),
        ("cancel", {"window_id": "nothing", "by": "ada"}, "nothing"),
    ],
)
def test_wrong_input_is_answered_with_what_was_expected(
    local_system: LocalSystem, subject: str, body: dict[str, object], names: str
) -> None:
    day = datetime.now(UTC) + timedelta(days=5)
    if "targets" in body:
        body = body | {"start": f"{day:%F}T17:00:00Z", "end": f"{day:%F}T18:00:00Z", "by": "ada"}

    finished = run(local_system, f"nats req yaoki.api.slo.{subject} '{json.dumps(body)}'")

    assert "Nats-Service-Error-Code" in shown(finished)
    assert names in shown(finished)


def test_a_window_that_is_announced_is_listed_and_cannot_overlap_another(local_system: LocalSystem) -> None:
    day = datetime.now(UTC) + timedelta(days=6)
    window = {"start": f"{day:%F}T17:00:00Z", "end": f"{day:%F}T18:00:00Z", "by": "ada", "targets": ["orders-db"]}
    announced = answer(run(local_system, f"nats req yaoki.api.slo.announce '{json.dumps(window)}'"))
    assert isinstance(announced["window"], dict)

    listed = run(local_system, "nats req yaoki.api.slo.list '{}'")
    again = run(local_system, f"nats req yaoki.api.slo.announce '{json.dumps(window | {'targets': []})}'")

    assert announced["window"]["window_id"] in shown(listed)
    assert "rule overlap" in shown(again)
