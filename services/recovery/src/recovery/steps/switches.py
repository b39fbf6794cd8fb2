"""Maintenance mode, disabled caching and open circuits, as flags that applications obey.

A switch carries the run that turned it on. When the failure of that run is cleared, exactly what it turned on is
turned off (`recovery.lifting`); what a person or another run turned on stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaoki.flags import caching_key, circuit_key, maintenance_key
from yaoki.runs.actions import ActionResult
from yaoki.runs.errors import PreconditionFailedError

from recovery.lifting import lift

if TYPE_CHECKING:
    from yaoki.plans import Order
    from yaoki.runs.actions import Handler

    from recovery.ports import Clearances, Flags


class SwitchSteps:
    """Turn flags on for as long as the failure lasts."""

    def __init__(self, flags: Flags, clearances: Clearances) -> None:
        self._flags = flags
        self._clearances = clearances

    def handlers(self) -> dict[str, Handler]:
        """By action name."""
        return {
            "enable-maintenance": self.enable_maintenance,
            "disable-caching": self.disable_caching,
            "open-circuit": self.open_circuit,
        }

    async def enable_maintenance(self, order: Order) -> ActionResult:
        """Maintenance mode for `params.scope` (all applications by default)."""
        return await self._turn_on(order, maintenance_key(str(order.params.get("scope", "all"))))

    async def disable_caching(self, order: Order) -> ActionResult:
        """Applications go without the cache of `params.group`."""
        return await self._turn_on(order, caching_key(str(order.params["group"])))

    async def open_circuit(self, order: Order) -> ActionResult:
        """Callers of the external service `params.target` do not call it."""
        return await self._turn_on(order, circuit_key(str(order.params["target"])))

    async def _turn_on(self, order: Order, key: str) -> ActionResult:
        reason = str(order.params.get("reason", "")) or f"run {order.run_id} could not repair the failure yet"
        found = await self._flags.switch(key)
        if found is not None and found.on and found.by != order.run_id:
            # Whoever turned it on turns it off; taking it over would end their maintenance with our incident.
            return ActionResult(result={"flag": key, "on": True, "by": found.by})
        await self._flags.set_switch(key, on=True, by=order.run_id, reason=reason)
        if await self._cleared(order):
            # The clear arrived meanwhile and may have looked at the flag before it was set: undo it here.
            await lift(self._flags, key, by=order.run_id, reason="the failure is cleared")
            raise PreconditionFailedError("the failure was cleared in the meantime")
        return ActionResult(result={"flag": key, "on": True, "by": order.run_id})

    async def _cleared(self, order: Order) -> bool:
        target = str(order.params.get("target", ""))
        return bool(order.incident_id) and await self._clearances.is_cleared(target, str(order.incident_id))
