"""One host behind proxies, so that it can be cut off from everybody without a packet in answer."""

from __future__ import annotations

from contextlib import AsyncExitStack
from copy import deepcopy
from typing import TYPE_CHECKING

from yaoki_devstack.proxy import TcpProxy

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from yaoki_devstack.nats import NatsServer
    from yaoki_devstack.postgres import PostgresServer

    from .configuration import Document


class Isolation:
    """Proxies between the host of `node` and the rest: NATS, its PostgreSQL, and the other agents' failsafe.

    Whoever is on the host itself still reaches its PostgreSQL by the real port.
    """

    def __init__(self, node: PostgresServer, nats: NatsServer, failsafe: dict[str, int]) -> None:
        self._name = node.name
        self._nats = TcpProxy(nats.port)
        self._database = TcpProxy(node.port)
        self._failsafe = {name: TcpProxy(port) for name, port in failsafe.items() if name != node.name}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for proxy in self._all():
            await self._stack.enter_async_context(proxy)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def cut_off(self) -> None:
        """From now on everything sent to or from the host is lost; connections stay open."""
        for proxy in self._all():
            proxy.blackhole()

    def outside(self, document: Document, cluster: str) -> Document:
        """The configuration of everybody else."""
        seen = deepcopy(document)
        seen["postgres_clusters"][cluster]["members"][self._name]["port"] = self._database.port
        return seen

    def inside(self, document: Document) -> Document:
        """The configuration of the host's own agent."""
        seen = deepcopy(document)
        seen["nats"]["servers"] = [f"nats://127.0.0.1:{self._nats.port}"]
        for name, proxy in self._failsafe.items():
            seen["agents"][name]["failsafe"] = f"127.0.0.1:{proxy.port}"
        return seen

    def _all(self) -> list[TcpProxy]:
        return [self._nats, self._database, *self._failsafe.values()]
