"""A TCP port is well when it accepts a connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaoki.config import Scope, TcpTarget
from yaoki.events.probe import FailureType

from health_probe.attempt import Finding
from health_probe.kinds import ProbeKind
from health_probe.targets import Component

if TYPE_CHECKING:
    from health_probe.adapters.network import Network
    from health_probe.attempt import Phases
    from health_probe.kinds import Surroundings
    from health_probe.ports import Check


class TcpCheck:
    """See `Check`."""

    def __init__(self, *, network: Network, host: str, port: int) -> None:
        self._network = network
        self._host = host
        self._port = port

    async def check(self, phases: Phases) -> Finding:
        """See `Check.check`."""
        sock = await self._network.dial(phases, self._host, self._port)
        sock.close()
        return Finding()


def _build(_name: str, target: TcpTarget, surroundings: Surroundings) -> Check:
    return TcpCheck(network=surroundings.network, host=target.host, port=target.port)


def _failure_type(target: TcpTarget) -> FailureType:
    external = target.scope is Scope.EXTERNAL
    return FailureType.EXTERNAL_SERVICE if external else FailureType.NETWORK_PARTITION


KIND = ProbeKind(target=TcpTarget, component=Component.SERVICES, build=_build, failure_type=_failure_type)
