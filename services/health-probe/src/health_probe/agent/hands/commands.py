"""Runs commands that the configuration names, without a shell and without anything from outside in their arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from yaoki.errors import TransientError
from yaoki.hands import Sight, not_allowed
from yaoki.runs.errors import ActionFailedError

from health_probe.agent.programs import ServerUser, run

if TYPE_CHECKING:
    from yaoki.config.repairs import Repairs
    from yaoki.plans import JsonObject

_SAID = 2000


class CommandParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Name of the command in the configuration."""

    command: str


class CommandRan(msgspec.Struct, frozen=True, kw_only=True):
    """The command ended with status 0.

    Attributes:
        output: The end of what it wrote.
    """

    command: str
    output: str


class RunCommand:
    """See `Hand`. Nobody can see from outside whether a command has run; its `effect` says whether that matters."""

    name = "command.run"
    params = CommandParams

    def __init__(self, repairs: Repairs) -> None:
        self._allowed = repairs.commands

    async def look(self, params: CommandParams) -> Sight:
        """See `Hand.look`."""
        settings = self._allowed.get(params.command)
        if settings is None:
            raise not_allowed("command", params.command, self._allowed, "repairs.commands")
        return Sight(would=f"run {' '.join(settings.run)}, for at most {settings.timeout:g} s")

    def happened(self, params: CommandParams, before: JsonObject, now: Sight) -> None:
        """See `Hand.happened`."""

    async def act(self, params: CommandParams, seen: Sight, order_id: str) -> CommandRan:  # noqa: ARG002 - as above
        """See `Hand.act`. The command finds the order's identity in its environment as YAOKI_ORDER_ID."""
        settings = self._allowed[params.command]
        try:
            output = await run(
                settings.run,
                user=ServerUser(),
                timeout_s=settings.timeout,
                extra={"YAOKI_ORDER_ID": order_id},
            )
        except (OSError, TransientError) as error:
            raise ActionFailedError(f"command {params.command!r}: {error}") from error
        return CommandRan(command=params.command, output=output[-_SAID:])
