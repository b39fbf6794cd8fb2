"""Which of several servers is the one that is meant."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from yaoki.events.probe import ErrorClass

from health_probe.attempt import Finding, ProbeFailedError, failure_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from yaoki.flags import Endpoint

    from health_probe.attempt import Phases


async def first_well(
    check_at: Callable[[Phases, Endpoint], Awaitable[Finding]], phases: Phases, endpoints: Sequence[Endpoint]
) -> Finding:
    """Check one endpoint; or several at once, of which one has to be well.

    There are several only before a route has been published: any of the configured members may then be the
    primary, and taking one at random for it would report a standby as a broken primary.

    Raises:
        ProbeFailedError: None is well; tells the first one's reason. Class `local` when there is nothing to check: who
            the master is of a group that Sentinel manages is known only once it has been published.
    """
    if not endpoints:
        raise ProbeFailedError(ErrorClass.LOCAL, "no master is published yet; recovery does so once Sentinel answers")
    if len(endpoints) == 1:
        return await check_at(phases, endpoints[0])
    attempts = (check_at(phases.fork(), endpoint) for endpoint in endpoints)
    outcomes = await asyncio.gather(*attempts, return_exceptions=True)
    phases.name = "candidates"
    failures: list[Exception] = []
    for outcome in outcomes:
        if isinstance(outcome, Finding):
            return outcome
        if not isinstance(outcome, Exception):
            raise outcome
        failures.append(outcome)
    first = failure_of(failures[0])
    sentence = f"none of {len(endpoints)} members is the primary; {endpoints[0].member}: {first.detail}"
    raise ProbeFailedError(first.error_class, sentence, first.facts)
