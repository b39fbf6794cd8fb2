"""The second signal: what it takes to believe that a primary is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from recovery.confirmation import Finding, Observation, judge

from .builders import record, status

if TYPE_CHECKING:
    from yaoki.commands.agent import AgentStatus

SERVING = status("pg-a", role="primary", holder=True)
DEAD = status("pg-a", running=False, accepting=False, role="unknown")
NEVER_PROMOTED = status("pg-a", role="standby", holder=True)
HUNG = status("pg-a", accepting=False, role="unknown")
DETACHED = status("pg-b", upstream_connected=False)
STREAMING = status("pg-b", upstream_connected=True)


def look(answer: AgentStatus | None, *standbys: AgentStatus, unchanged_s: float = 0.0, **lease: Any) -> Observation:
    return Observation(record=record(**lease), unchanged_s=unchanged_s, holder=answer, standbys=standbys)


@pytest.mark.parametrize(
    ("observations", "finding"),
    [
        ([look(DEAD)], Finding.LOST),
        ([look(HUNG)], Finding.UNDECIDED),
        ([look(HUNG), look(HUNG)], Finding.LOST),
        ([look(HUNG), look(SERVING)], Finding.UNDECIDED),
        ([look(NEVER_PROMOTED)], Finding.UNDECIDED),
        ([look(NEVER_PROMOTED), look(NEVER_PROMOTED)], Finding.LOST),
        ([look(SERVING)], Finding.UNDECIDED),
        ([look(SERVING), look(SERVING)], Finding.ALIVE),
        ([look(SERVING, unchanged_s=60.0), look(SERVING, unchanged_s=61.0)], Finding.ALIVE),
        ([look(None, STREAMING, unchanged_s=2.9)], Finding.UNDECIDED),
        ([look(None, STREAMING, unchanged_s=3.0)], Finding.LOST),
        ([look(None)], Finding.UNDECIDED),
        ([look(None), look(None)], Finding.UNDECIDED),
        ([look(None, DETACHED)], Finding.UNDECIDED),
        ([look(None, DETACHED), look(None, DETACHED)], Finding.LOST),
        ([look(None, DETACHED), look(None, STREAMING, DETACHED)], Finding.UNDECIDED),
        ([look(SERVING, revoked_by="another-run")], Finding.LOST),
        ([look(None, holder="")], Finding.LOST),
    ],
)
def test_a_primary_is_lost_only_by_an_independent_signal(observations: list[Observation], finding: Finding) -> None:
    verdict = judge(observations)

    assert verdict.finding is finding
    assert verdict.signal
