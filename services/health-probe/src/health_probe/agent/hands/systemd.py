"""Restarts systemd units."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

import msgspec
from yaoki.errors import TransientError
from yaoki.hands import Sight, not_allowed
from yaoki.runs.errors import ActionFailedError, PreconditionFailedError

from health_probe.agent.programs import ServerUser, run

if TYPE_CHECKING:
    from yaoki.config.repairs import Repairs
    from yaoki.plans import JsonObject

_SHOW_S: Final = 5.0
_RESTART_S: Final = 120.0
_POLL_S: Final = 0.1
_SETTLED: Final = frozenset({"active", "inactive", "failed"})
_PROPERTIES: Final = ("LoadState", "ActiveState", "InvocationID", "MainPID")


class UnitParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which unit."""

    unit: str


class UnitRestarted(msgspec.Struct, frozen=True, kw_only=True):
    """The unit is active again, in a new invocation."""

    unit: str
    invocation: str
    pid: int


class RestartUnit:
    """See `Hand`. Two invocations of a unit never have the same id, so a repeat sees that it has happened."""

    name = "systemd.restart"
    params = UnitParams

    def __init__(self, repairs: Repairs) -> None:
        self._allowed = repairs.units
        self._manager = ("--user",) if repairs.user_units else ()

    async def look(self, params: UnitParams) -> Sight:
        """See `Hand.look`. Waits while the unit is on its way from one state to another."""
        if params.unit not in self._allowed:
            raise not_allowed("unit", params.unit, self._allowed, "repairs.units")
        state = await self._state(params.unit)
        while state["ActiveState"] not in _SETTLED:
            await asyncio.sleep(_POLL_S)
            state = await self._state(params.unit)
        if state["LoadState"] != "loaded":
            raise PreconditionFailedError(f"systemd has no unit {params.unit!r} (LoadState is {state['LoadState']!r})")
        active, pid = state["ActiveState"], int(state["MainPID"] or 0)
        return Sight(
            would=f"restart the unit {params.unit}, which is {active}" + (f" with main process {pid}" if pid else ""),
            before={"invocation": state["InvocationID"]},
            facts={"active": active, "pid": pid, "invocation": state["InvocationID"]},
        )

    def happened(self, params: UnitParams, before: JsonObject, now: Sight) -> bool:  # noqa: ARG002 - the port's signature
        """See `Hand.happened`."""
        return bool(now.facts["active"] == "active" and now.before != before)

    async def act(self, params: UnitParams, seen: Sight, order_id: str) -> UnitRestarted:  # noqa: ARG002 - as above
        """See `Hand.act`. systemctl returns when the unit says that it is up, or has failed."""
        try:
            await self._systemctl("restart", params.unit, timeout_s=_RESTART_S)
            now = await self.look(params)
        except TransientError as error:
            raise ActionFailedError(f"{params.unit} was not restarted: {error.message}", code=error.code) from error
        if not self.happened(params, seen.before, now):
            raise ActionFailedError(f"{params.unit} is {now.facts['active']} after its restart; expected active")
        return UnitRestarted(unit=params.unit, invocation=now.facts["invocation"], pid=now.facts["pid"])

    async def _state(self, unit: str) -> dict[str, str]:
        output = await self._systemctl("show", f"--property={','.join(_PROPERTIES)}", unit, timeout_s=_SHOW_S)
        found = dict(line.split("=", 1) for line in output.splitlines() if "=" in line)
        if missing := [name for name in _PROPERTIES[:2] if name not in found]:
            raise TransientError(f"systemctl show {unit} says nothing of {', '.join(missing)}")
        return {name: found.get(name, "") for name in _PROPERTIES}

    async def _systemctl(self, verb: str, *arguments: str, timeout_s: float) -> str:
        extra = {
            name: os.environ[name] for name in ("XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS") if name in os.environ
        }
        argv = ("systemctl", *self._manager, "--no-pager", "--no-ask-password", verb, *arguments)
        return await run(argv, user=ServerUser(), timeout_s=timeout_s, extra=extra)
