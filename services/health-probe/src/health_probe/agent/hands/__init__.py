"""What the agent may do on its host for recovery. A new hand is a module beside this one and a line in `HANDS`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from health_probe.agent.hands.commands import RunCommand
from health_probe.agent.hands.docker import RestartContainer
from health_probe.agent.hands.ending import EndProcesses
from health_probe.agent.hands.haproxy import SetServer
from health_probe.agent.hands.logs import DeleteLogs
from health_probe.agent.hands.process import RestartProcess
from health_probe.agent.hands.systemd import RestartUnit

if TYPE_CHECKING:
    from collections.abc import Callable

    from yaoki.config.repairs import Repairs
    from yaoki.hands import AnyHand

HANDS: tuple[Callable[[Repairs], AnyHand], ...] = (
    RestartUnit,
    RestartProcess,
    RestartContainer,
    SetServer,
    DeleteLogs,
    EndProcesses,
    RunCommand,
)


def host_hands(repairs: Repairs | None) -> tuple[AnyHand, ...]:
    """All hands with what they may touch; none where the configuration allows nothing."""
    return () if repairs is None else tuple(hand(repairs) for hand in HANDS)
