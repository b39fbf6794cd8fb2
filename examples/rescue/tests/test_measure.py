"""What a rescue took is computed from the ledger and the run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from orders.ledger import Acknowledged
from rescue.measure import attempts, unavailability
from yaoki.events.runs import Ending, RunFinished, StepSummary
from yaoki.plans import OutcomeStatus, Phase

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def ledger(*seconds: float) -> list[Acknowledged]:
    return [Acknowledged(key=uuid4(), at=at(one), attempts=1, waited_s=0.0) for one in seconds]


def test_unavailability_is_the_longest_silence_of_the_incident() -> None:
    """A gap that began before the kill counts as well; one of another incident does not."""
    entries = ledger(0, 9, 10.0, 10.1, 13.1, 14.1, 20)

    assert unavailability(entries, at(10.05), at(14)) == 3.0


def test_without_a_gap_nothing_was_unavailable() -> None:
    """An empty ledger is not a proof, but no division by zero either."""
    assert unavailability([], at(0), at(1)) == 0.0


def step(branch: str, name: str, status: OutcomeStatus) -> StepSummary:
    return StepSummary(branch=branch, step=name, action=name, phase=Phase.DO, status=status, attempts=1, duration_s=0.1)


def test_an_attempt_is_a_branch_with_its_worst_result() -> None:
    """A branch that failed in its second step is shown as failed."""
    run = RunFinished(
        run_kind="recovery",
        run_id="r",
        ending=Ending.COMPLETED,
        duration_s=1.0,
        steps=(
            step("restart", "one", OutcomeStatus.SKIPPED),
            step("switch", "one", OutcomeStatus.SUCCEEDED),
            step("switch", "two", OutcomeStatus.FAILED),
            step("switch", "undo", OutcomeStatus.SUCCEEDED),
        ),
    )

    assert attempts(run) == ("restart: skipped", "switch: failed")
