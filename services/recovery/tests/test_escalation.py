"""What people get when automation is at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from recovery.escalation import escalation_id, next_steps
from recovery.steps.escalating import EscalationSteps
from yaoki.commands.recovery import RunChain, RunView
from yaoki.events.recovery import EscalatedToHuman
from yaoki.events.runs import StepSummary
from yaoki.flag_store import FlagStore
from yaoki.flags import maintenance_key
from yaoki.plans import OutcomeStatus, Phase
from yaoki.subjects import Subjects
from yaoki.testing import InMemoryKeyValue, InMemoryPublisher

from .builders import T0, config, failure, order
from .fakes import HandClock

if TYPE_CHECKING:
    from collections.abc import Iterator

ATTEMPT = StepSummary(
    branch="switch-database",
    step="choose-candidate",
    action="choose-candidate",
    phase=Phase.DO,
    status=OutcomeStatus.FAILED,
    attempts=2,
    duration_s=1.5,
    error="pg-b lacks 200 bytes",
)


class OneRun:
    """Every run looks alike."""

    async def view(self, run_id: str) -> RunView | None:
        return RunView(
            run_id=run_id,
            run_kind="recovery",
            resource="orders",
            plan="database_connection",
            status="running",
            started_at=T0,
            steps=(ATTEMPT,),
        )


async def test_people_are_called_once_with_everything_that_was_tried() -> None:
    publisher = InMemoryPublisher()
    flags = FlagStore(InMemoryKeyValue(), publisher, HandClock())
    await flags.set_switch(maintenance_key(), on=True, by="run-1")
    steps = EscalationSteps(
        config(),
        subjects=Subjects(),
        flags=flags,
        runs=OneRun(),
        publisher=publisher,
        clock=HandClock(),
    )
    last = order("escalate", {"failure": msgspec.to_builtins(failure())})

    await steps.escalate(last)
    await steps.escalate(last)

    called = [one for one in publisher.published if isinstance(one.event, EscalatedToHuman)]
    assert [one.id for one in called] == [escalation_id("run-1")]
    event = called[0].event
    assert isinstance(event, EscalatedToHuman)
    assert (event.severity, event.required_action) == ("CRITICAL", "IMMEDIATE_MANUAL_INTERVENTION")
    assert event.failure == failure()
    assert event.attempts == (ATTEMPT,)
    assert event.maintenance
    assert "switch-database" in event.reason
    assert called[0].correlation == "incident-1"


def test_the_lines_to_copy_name_the_real_subjects_servers_and_run() -> None:
    text = "\n".join(next_steps(config(), Subjects("shop"), failure(), "run-1"))

    assert """nats req shop.api.probe.check '{"target": "orders-db"}'""" in text
    assert "nats req shop.api.agent-pg-a.status '{}'" in text
    assert "nats req shop.api.agent-pg-b.status '{}'" in text
    assert "nats kv get clusters orders --raw" in text
    assert """nats req shop.api.recovery.show '{"run_id": "run-1"}'""" in text


def test_the_line_that_starts_the_chain_again_is_a_valid_request() -> None:
    bodies = [body for line in next_steps(config(), Subjects(), failure()) for body in _bodies(line, "run")]

    assert [msgspec.json.decode(body, type=RunChain).target for body in bodies] == ["orders-db"]


def _bodies(line: str, verb: str) -> Iterator[str]:
    if f"yaoki.api.recovery.{verb} " in line:
        yield line[line.index("'") + 1 : line.rindex("'")]
