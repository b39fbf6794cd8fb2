"""nats-server with JetStream: one node, or a cluster of three."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import TYPE_CHECKING, Any, ClassVar

from typing_extensions import override

from yaoki_devstack.binaries import program
from yaoki_devstack.errors import ServerStartError
from yaoki_devstack.lifetime import Lifetime
from yaoki_devstack.proctree import send
from yaoki_devstack.server import (
    START_SECONDS,
    LocalServer,
    command_line,
    remove_temporary,
    temporary_directory,
)
from yaoki_devstack.waiting import until
from yaoki_devstack.wire import exchange, http_get

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_CONFIG = """\
server_name: "{name}"
listen: "{host}:{port}"
http: "{host}:{monitor_port}"
jetstream {{
  store_dir: "{store}"
  sync_interval: always
  max_memory_store: 256MB
  max_file_store: 4GB
}}
"""

_CLUSTER_CONFIG = """\
cluster {{
  name: "{cluster}"
  listen: "{host}:{port}"
  no_advertise: true
  routes: [{routes}]
}}
"""


class NatsServer(LocalServer):
    """One nats-server; JetStream acknowledges only what is synced to disk (`sync_interval: always`).

    Args:
        name: the `server_name`.
        directory: as for every server.
        port: as for every server.
        monitor_port: the preferred port of the HTTP monitoring.
        extra_config: appended to the configuration file, for accounts, limits or TLS.
        detached: as for every server.
    """

    program: ClassVar[str] = "nats-server"

    def __init__(
        self,
        *,
        name: str = "nats",
        directory: Path | None = None,
        port: int | None = None,
        monitor_port: int | None = None,
        extra_config: str = "",
        detached: bool = False,
    ) -> None:
        super().__init__(name=name, directory=directory, port=port, detached=detached)
        self._monitor_port = self._ports.reserve("monitor", monitor_port)
        self._clustered = False
        self.extra_config = extra_config
        self.config_file = self.directory / "nats.conf"

    @property
    @override
    def url(self) -> str:
        return f"nats://{self.host}:{self.port}"

    @property
    def monitor_url(self) -> str:
        """The root of the monitoring pages, such as `/jsz`."""
        return f"http://{self.host}:{self._monitor_port}"

    @property
    @override
    def argv(self) -> list[str]:
        return command_line([program("nats-server"), "--config", self.config_file])

    @override
    async def prepare(self) -> None:
        self.data_dir.mkdir(exist_ok=True)
        text = _CONFIG.format(
            name=self.name,
            host=self.host,
            port=self.port,
            monitor_port=self._monitor_port,
            store=self.data_dir,
        )
        self.config_file.write_text(text + self.extra_config, encoding="utf-8")

    @override
    async def is_ready(self) -> bool:
        greeting = await exchange(self.host, self.port, b"", until=b"\r\n")
        if not greeting.startswith(b"INFO "):
            return False
        # A node of a cluster is healthy only with a leader; the cluster waits for that itself.
        path = "/varz" if self._clustered else "/healthz"
        status, _ = await http_get(self.host, self._monitor_port, path)
        return status == 200  # noqa: PLR2004 - HTTP OK

    async def monitor(self, path: str) -> Any:
        """Return the decoded JSON of a monitoring page such as `/jsz`; None without an answer."""
        status, body = await http_get(self.host, self._monitor_port, path)
        return json.loads(body) if status == 200 else None  # noqa: PLR2004 - HTTP OK

    async def lame_duck(self) -> None:
        """Ask the server to hand its leaders over and its clients away; it ends by itself later."""
        self._signal(signal.SIGUSR2)

    async def reload(self) -> None:
        """Have the server read its configuration file again."""
        self._signal(signal.SIGHUP)

    def _signal(self, signum: signal.Signals) -> None:
        send([process for process in self.processes() if process.pid == self.pid], signum)

    def join(self, cluster: str, routes: Sequence[int]) -> None:
        """Make this server a node of `cluster`, before `prepare`; `routes` are all nodes' cluster ports."""
        addresses = ", ".join(f'"nats://{self.host}:{port}"' for port in routes)
        self._clustered = True
        self.extra_config += _CLUSTER_CONFIG.format(
            cluster=cluster, host=self.host, port=self.cluster_port, routes=addresses
        )

    @property
    def cluster_port(self) -> int:
        """The port for the other nodes, reserved on first use."""
        return self._ports.reserve("cluster")


class NatsCluster(Lifetime):
    """Several nats-servers that elect a JetStream meta leader, or one that stands alone.

    Args:
        size: the number of nodes.
        directory: the parent of the nodes' directories; a temporary one when None.
        ports: the preferred client ports, one a node.
        monitor_ports: the preferred monitoring ports, one a node.
        detached: the servers survive this process.
    """

    def __init__(
        self,
        *,
        size: int = 3,
        directory: Path | None = None,
        ports: Sequence[int] = (),
        monitor_ports: Sequence[int] = (),
        detached: bool = False,
    ) -> None:
        parent = temporary_directory("nats-cluster") if directory is None else directory
        self.directory = parent
        self._temporary = directory is None
        self.servers = [
            NatsServer(
                name=f"nats{index + 1}",
                directory=parent / f"nats{index + 1}",
                port=ports[index] if index < len(ports) else None,
                monitor_port=monitor_ports[index] if index < len(monitor_ports) else None,
                detached=detached,
            )
            for index in range(size)
        ]
        if size > 1:
            routes = [server.cluster_port for server in self.servers]
            for server in self.servers:
                server.join("yaoki", routes)

    @property
    def url(self) -> str:
        """The client addresses of all nodes, separated by commas."""
        return ",".join(server.url for server in self.servers)

    @property
    def urls(self) -> list[str]:
        """The client addresses of all nodes."""
        return [server.url for server in self.servers]

    @override
    async def start(self, *, within: float = START_SECONDS) -> None:
        """Start all nodes and wait until they agree on a meta leader that has all of them up to date."""
        await asyncio.gather(*(server.start(within=within) for server in self.servers))

        async def settled() -> bool:
            return len(self.servers) == 1 or await self._is_formed()

        if not await until(settled, within=within):
            log = self.servers[0].log_text()[-2000:]
            raise ServerStartError(f"no JetStream meta leader within {within} s: {log}")

    async def _is_formed(self) -> bool:
        """Say whether every node counts all others.

        A leader alone is not enough: nodes that know only two members cannot elect another when it dies, and
        a leader places nothing on a node from which it has no statistics yet ("offline").
        """
        leader = await self.meta_leader()
        views = [view or {} for view in await asyncio.gather(*(each.monitor("/jsz") for each in self.servers))]
        groups = {each.name: view.get("meta_cluster", {}) for each, view in zip(self.servers, views, strict=True)}
        if leader is None or any(group.get("cluster_size") != len(self.servers) for group in groups.values()):
            return False
        followers = groups[leader.name].get("replicas", [])
        return len(followers) == len(self.servers) - 1 and all(
            each.get("current") and not each.get("offline") for each in followers
        )

    async def meta_leader(self) -> NatsServer | None:
        """Return the node that all running nodes name as meta leader; None while they do not agree."""
        views = await asyncio.gather(*(server.monitor("/jsz") for server in self.servers if server.running))
        names = {(view or {}).get("meta_cluster", {}).get("leader") for view in views}
        if len(names) != 1:
            return None
        leader = names.pop()
        return next((server for server in self.servers if server.name == leader), None)

    @override
    async def stop(self) -> None:
        """Stop all nodes."""
        await asyncio.gather(*(server.stop() for server in self.servers))

    @override
    async def kill(self) -> None:
        """SIGKILL all nodes."""
        await asyncio.gather(*(server.kill() for server in self.servers))

    @override
    def discard(self) -> None:
        """Release the ports and remove temporary directories. The servers must be stopped."""
        for server in self.servers:
            server.discard()
        if self._temporary:
            remove_temporary(self.directory)
