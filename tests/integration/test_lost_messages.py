"""A failure that its consumer gave up without a word is put aside, and people are told."""

from __future__ import annotations

import msgspec
import pytest
from yaoki.events.delivery import MessageDeadLettered, Severity
from yaoki.events.probe import FailureDetected
from yaoki.testing import eventually, patient

from .harness import RescueSystem
from .harness.configuration import CACHE_TARGET

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]


async def test_a_failure_that_somebody_terminated_is_told_as_critical() -> None:
    """Nobody answers for a foreign TERM: only the server's advisory tells of it, and recovery listens to those."""
    failure = msgspec.convert(
        {
            "type": "FailureDetected",
            "target": CACHE_TARGET,
            "target_kind": "redis",
            "region": "local",
            "vantage": "other",
            "failure_type": "redis_connection",
            "incident_id": "incident-7",
            "first_failed_at": "2026-01-01T00:00:00Z",
            "failures": 3,
        },
        FailureDetected,
    )
    async with RescueSystem(standbys=None, redis=True, recoveries=1) as system:
        await system.processes.stop("recovery-1")
        await system.messaging.publisher.publish(failure, event_id="lost")
        consumer = await system.messaging.jetstream.pull_subscribe_bind("recovery-failures", "EVENTS")
        (message,) = await consumer.fetch(1, timeout=patient(10))
        await message.term()
        system.start_recovery("recovery-1")

        async def told() -> list[MessageDeadLettered]:
            return await system.events(MessageDeadLettered)

        letters = await eventually(told, within=60, poll=0.2)

    assert [(letter.service, letter.reason, letter.severity) for letter in letters] == [
        ("recovery", "terminated", Severity.CRITICAL)
    ]
    assert letters[0].original_subject == f"yaoki.evt.probe.{CACHE_TARGET}.failure-detected"
