"""Promises and maintenance rules: numbers that only make sense together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaoki.config.findings import Context, Finding
from yaoki.config.forms import format_duration
from yaoki.config.mistakes import one_of

if TYPE_CHECKING:
    from collections.abc import Iterator

RESPONSE_BOUNDS_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Times that responses are counted by, seconds: a goal between two of them could not be judged later."""

_MINUTE_S = 60


def check_services(context: Context) -> Iterator[Finding]:
    """The response goal is one that the ledger counts."""
    for name, service in context.config.slo.services.items():
        if service.response is not None and service.response.within not in RESPONSE_BOUNDS_S:
            yield Finding(
                path=f"slo.services.{name}.response.within",
                found=format_duration(service.response.within),
                expected=one_of([format_duration(bound) for bound in RESPONSE_BOUNDS_S]),
                hint="responses are counted by these times",
            )


def check_maintenance(context: Context) -> Iterator[Finding]:
    """Hours have an order; durations are whole minutes, as the ledger is."""
    rules = context.config.maintenance
    if rules.earliest >= rules.latest:
        yield Finding(
            path="maintenance.earliest",
            found=rules.earliest,
            expected=f"a time of day before maintenance.latest, {rules.latest}",
            also=("maintenance.latest",),
            hint="a window lies within one calendar day; use 24:00 for midnight",
        )
    if rules.monthly_limit % _MINUTE_S:
        yield Finding(
            path="maintenance.monthly_limit",
            found=format_duration(rules.monthly_limit),
            expected="whole minutes",
        )
