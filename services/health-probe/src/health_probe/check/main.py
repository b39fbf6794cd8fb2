"""Wires one look at every target; opens no connection but those of the probes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from yaoki.clock import SystemClock
from yaoki.config import load_despite_missing_secrets
from yaoki.errors import RejectedError

from health_probe.adapters.network import Network
from health_probe.check.examiner import Examiner
from health_probe.kinds import Surroundings
from health_probe.routes import RouteBook

if TYPE_CHECKING:
    from collections.abc import Sequence

    from yaoki.checkup import Checkup

VANTAGE: Final = "check"


async def check_once(file: str, needs: Sequence[str], agent: str | None) -> Checkup:
    """Look at every target of a configuration; NATS is not needed and not used.

    Servers of a cluster are found by the configured members, since only NATS knows the published route.

    Args:
        file: The configuration.
        needs: See `yaoki.config.load_config`.
        agent: Look at the targets of this agent only, on whose host this runs.

    Raises:
        RejectedError: The configuration is wrong, or has no such agent.
    """
    loaded = load_despite_missing_secrets(file, needs=needs)
    agents = loaded.config.agents
    if agent is not None and agent not in agents:
        raise RejectedError(f"agent {agent!r} is not configured; `agents` has: {', '.join(sorted(agents)) or 'none'}")
    clock = SystemClock()
    surroundings = Surroundings(
        config=loaded.config, network=Network(), routes=RouteBook(), vantage=VANTAGE, agent=agent
    )
    return await Examiner(surroundings, clock, unresolved=loaded.unresolved, agent=agent).checkup()
