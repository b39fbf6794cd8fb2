"""A PostgreSQL primary with streaming standbys."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from typing_extensions import override

from yaoki_devstack.errors import ServerStartError
from yaoki_devstack.lifetime import Lifetime
from yaoki_devstack.postgres import PostgresServer, quorum_of
from yaoki_devstack.server import START_SECONDS, remove_temporary, temporary_directory
from yaoki_devstack.waiting import until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from yaoki_devstack.postgres_template import PostgresCredentials


class PostgresCluster(Lifetime):
    """A primary and its standbys, named db1, db2, ...

    `primary` and `standbys` are the roles at `prepare()`; after a failover ask the servers themselves.

    Args:
        standbys: how many standbys to clone.
        synchronous: a commit waits for any one standby.
        directory: the parent of the nodes' directories; a temporary one when None.
        ports: the preferred ports, one a node.
        credentials: roles, passwords and the application's database.
        settings: configuration parameters of every node.
        fsync: as for `PostgresServer`.
        detached: the servers survive this process.
    """

    def __init__(
        self,
        *,
        standbys: int = 1,
        synchronous: bool = False,
        directory: Path | None = None,
        ports: Sequence[int] = (),
        credentials: PostgresCredentials | None = None,
        settings: Mapping[str, str] | None = None,
        fsync: bool = True,
        detached: bool = False,
    ) -> None:
        self._temporary = directory is None
        self.directory = temporary_directory("postgres") if directory is None else directory
        self.synchronous = synchronous and standbys > 0
        self.nodes: list[PostgresServer] = []
        for index in range(standbys + 1):
            name = f"db{index + 1}"
            self.nodes.append(
                PostgresServer(
                    name=name,
                    directory=self.directory / name,
                    port=ports[index] if index < len(ports) else None,
                    primary=self.nodes[0] if self.nodes else None,
                    credentials=credentials,
                    settings=settings,
                    fsync=fsync,
                    detached=detached,
                )
            )

    @property
    def primary(self) -> PostgresServer:
        """The node that is prepared as primary."""
        return self.nodes[0]

    @property
    def standbys(self) -> list[PostgresServer]:
        """The nodes that are prepared as standbys."""
        return self.nodes[1:]

    def node(self, name: str) -> PostgresServer:
        """Return the node called `name`.

        Raises:
            KeyError: there is none.
        """
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(f"no node '{name}'; there are {[node.name for node in self.nodes]}")

    async def prepare(self) -> None:
        """Create all data directories, slots and configuration, and leave everything stopped."""
        fresh = not self.primary.data_dir.exists()
        for node in self.nodes:
            await node.prepare()
        if fresh and self.synchronous:
            # Only now, or the standbys' copies would wait for standbys of their own once they are promoted.
            names = quorum_of(node.name for node in self.standbys)
            self.primary.write_automatic_settings({"synchronous_standby_names": names})

    @override
    async def start(self, *, within: float = START_SECONDS) -> None:
        """Prepare and start all nodes, and wait until every standby streams."""
        await self.prepare()
        for node in self.nodes:
            node.launch()
        await asyncio.gather(*(node.wait_ready(within=within) for node in self.nodes))
        await self.wait_streaming(within=within)

    async def wait_streaming(self, *, within: float = START_SECONDS) -> None:
        """Wait until every standby streams from `primary` and, if synchronous, counts for its commits."""
        wanted = {node.name for node in self.standbys}
        condition = "AND sync_state IN ('sync', 'quorum')" if self.synchronous else ""
        query = f"SELECT application_name FROM pg_stat_replication WHERE state = 'streaming' {condition}"  # noqa: S608 - constants

        async def streaming() -> bool:
            return wanted <= set((await self.primary.psql(query)).split())

        if wanted and not await until(streaming, within=within):
            state = await self.primary.psql("SELECT application_name, state, sync_state FROM pg_stat_replication")
            raise ServerStartError(f"expected {sorted(wanted)} to stream within {within} s, found: {state}")

    @override
    async def stop(self) -> None:
        """Stop all nodes, standbys first, so that a synchronous primary does not wait for them."""
        await asyncio.gather(*(node.stop() for node in self.standbys))
        await self.primary.stop()

    @override
    async def kill(self) -> None:
        """SIGKILL every process of every node."""
        await asyncio.gather(*(node.kill() for node in self.nodes))

    @override
    def discard(self) -> None:
        """Release the ports and remove temporary directories. The nodes must be stopped."""
        for node in self.nodes:
            node.discard()
        if self._temporary:
            remove_temporary(self.directory)
