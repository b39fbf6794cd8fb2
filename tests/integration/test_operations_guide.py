"""Every line of docs/operations.md that begins with `nats` works as it stands, with the real command."""

from __future__ import annotations

import asyncio
import json
import shlex
from typing import TYPE_CHECKING

import pytest
from yaoki.testing import eventually

from .harness.guide import Line, answer, documented_lines, run, shown

if TYPE_CHECKING:
    import subprocess

    from yaoki_cli.local.system import LocalSystem

pytestmark = [pytest.mark.real, pytest.mark.nats_cli, pytest.mark.timeout(400)]


def request(system: LocalSystem, subject: str, body: str) -> subprocess.CompletedProcess[str]:
    return run(system, f"nats req {subject} {shlex.quote(body)}")


def test_the_guide_has_lines_to_copy() -> None:
    """An empty guide would pass every other test here."""
    assert len(documented_lines("operations.md")) >= 20


@pytest.mark.parametrize(
    "line", [line for line in documented_lines("operations.md") if line.complete], ids=lambda line: line.command[:60]
)
def test_a_documented_line_is_understood(local_system: LocalSystem, line: Line) -> None:
    """It neither fails nor is answered with an error, unless the guide shows the error on purpose."""
    finished = run(local_system, line)

    assert "no responders" not in shown(finished)
    assert "nats: error" not in shown(finished)
    if line.command.startswith("nats req") and "order-db" not in line.command and "traget" not in line.command:
        assert answer(finished)
    if not line.streaming:
        assert finished.returncode == 0, shown(finished)


def test_a_rescue_shows_as_readable_json_with_cloudevents_headers(local_system: LocalSystem) -> None:
    """What an operator sees of an order being carried out."""
    accepted = answer(
        request(
            local_system,
            "yaoki.api.recovery.run",
            '{"target": "orders-cache", "failure_type": "redis_connection", "by": "test"}',
        )
    )
    wanted = (
        '"type":"RunStarted"',
        "ce-specversion: 1.0",
        "ce-type: yaoki.recovery.run-started",
        "Nats-Msg-Id",
    )
    line = f"nats sub --stream EVENTS --all 'yaoki.evt.recovery.{accepted['run_id']}.>'"
    journal = run(local_system, line, until=wanted)

    assert [word for word in wanted if word not in journal.stdout] == []


@pytest.mark.parametrize(
    ("subject", "body", "names"),
    [
        ("yaoki.api.probe.check", '{"target": "order-db"}', "orders-db"),
        ("yaoki.api.probe.check", '{"traget": "orders-db"}', "target"),
        ("yaoki.api.probe.check", "{", "JSON"),
        ("yaoki.api.probe.check", "", "target"),
        ("yaoki.api.recovery.run", '{"target": "orders-db"}', "failure_type"),
        (
            "yaoki.api.recovery.run",
            '{"target": "orders-db", "failure_type": "database", "by": "a"}',
            "database_connection",
        ),
        ("yaoki.api.recovery.run", '{"target": "nobody", "failure_type": "redis_connection", "by": "a"}', "nobody"),
        ("yaoki.api.recovery.show", '{"run_id": "none"}', "none"),
    ],
)
def test_wrong_input_is_answered_with_what_was_expected(
    local_system: LocalSystem, subject: str, body: str, names: str
) -> None:
    """The error header names the field or the value, and what would have been right."""
    finished = request(local_system, subject, body)

    assert "Nats-Service-Error-Code" in shown(finished)
    assert names in shown(finished)


def test_health_and_flags_can_be_watched(local_system: LocalSystem) -> None:
    """The buckets hold what dashboards show."""
    health = run(local_system, "nats kv watch health", until=("orders-db",))
    route = run(local_system, "nats kv get flags route.orders --raw")

    assert "orders-db" in health.stdout
    assert json.loads(route.stdout)["state"] == "serving"


async def test_every_service_stands_in_the_list(local_system: LocalSystem) -> None:
    """`nats micro ls` is how one finds out who is there; it does not wait long for those who are slow to answer."""
    names = ("probe", "recovery", "agent-db1", "agent-db2", "agent-redis1", "agent-redis2")

    async def all_listed() -> bool:
        listed = await asyncio.to_thread(run, local_system, "nats micro ls")
        assert [name for name in names if f"yaoki-{name}" not in listed.stdout] == []
        return True

    await eventually(all_listed, within=30)
