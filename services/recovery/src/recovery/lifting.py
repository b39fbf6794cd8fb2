"""Turning off what a run turned on, and nothing else.

Maintenance mode and disabled caching end when the failure that caused them is cleared: the probe's `FailureCleared`
names the incident, the incident names the run, and every switch says by whom it was set. A switch that a person or
another run has set stays on, whatever is cleared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from yaoki.messaging.ports import KeyValue

    from recovery.ports import Flags

_KINDS = ("maintenance.", "caching.", "circuit.")


async def lift(flags: Flags, key: str, *, by: str, reason: str) -> bool:
    """Turn the switch off if it is on and was set by `by`; whether it was."""
    found = await flags.switch(key)
    if found is None or not found.on or found.by != by:
        return False
    await flags.set_switch(key, on=False, by=by, reason=reason)
    return True


async def lift_all(bucket: KeyValue, flags: Flags, *, by: str, reason: str) -> list[str]:
    """Turn off every switch that was set by `by`; returns their keys."""
    keys = [key for key in await bucket.keys() if key.startswith(_KINDS)]
    return [key for key in keys if await lift(flags, key, by=by, reason=reason)]
