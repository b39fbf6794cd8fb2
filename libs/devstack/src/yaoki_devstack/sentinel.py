"""redis-server --sentinel: processes that watch a Redis master, and replace it when a majority of them agrees."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from yaoki_devstack.binaries import program
from yaoki_devstack.errors import ServerStartError
from yaoki_devstack.lifetime import Lifetime
from yaoki_devstack.process import run
from yaoki_devstack.redis import RedisServer
from yaoki_devstack.server import START_SECONDS, LocalServer, command_line
from yaoki_devstack.waiting import until
from yaoki_devstack.wire import exchange

if TYPE_CHECKING:
    from pathlib import Path

SENTINEL_PASSWORD = "sentinel-secret"  # noqa: S105 - of throw-away processes on loopback

_CONFIG = """\
bind {host}
port {port}
dir "{data}"
daemonize no
requirepass "{password}"
sentinel monitor {master} {master_host} {master_port} {quorum}
sentinel auth-pass {master} {master_password}
sentinel down-after-milliseconds {master} {down_after_ms}
sentinel failover-timeout {master} {failover_timeout_ms}
sentinel parallel-syncs {master} 1
"""


class SentinelServer(LocalServer):
    """One Sentinel. It rewrites its configuration file, so what it has decided survives a restart.

    Args:
        name: as for every server.
        watches: the master of the beginning.
        master: how the Sentinels call it.
        quorum: how many of them have to find it down.
        down_after_ms: silence after which one finds it down.
        failover_timeout_ms: twice this lies between two failovers of the same master.
        directory: as for every server.
        port: as for every server.
    """

    program: ClassVar[str] = "redis-server"

    def __init__(
        self,
        *,
        name: str = "sentinel",
        watches: RedisServer,
        master: str = "cache",
        quorum: int = 2,
        down_after_ms: int = 500,
        failover_timeout_ms: int = 2000,
        directory: Path | None = None,
        port: int | None = None,
    ) -> None:
        super().__init__(name=name, directory=directory, port=port)
        self.password = SENTINEL_PASSWORD
        self.master = master
        self.config_file = self.directory / "sentinel.conf"
        self._watches = watches
        self._settings = {
            "quorum": quorum,
            "down_after_ms": down_after_ms,
            "failover_timeout_ms": failover_timeout_ms,
        }

    @property
    @override
    def url(self) -> str:
        return f"redis://:{self.password}@{self.host}:{self.port}"

    @property
    @override
    def argv(self) -> list[str]:
        return command_line([program("redis-server"), self.config_file, "--sentinel"])

    @override
    async def prepare(self) -> None:
        if self.config_file.exists():
            return
        self.data_dir.mkdir(exist_ok=True)
        text = _CONFIG.format(
            host=self.host,
            port=self.port,
            data=self.data_dir,
            password=self.password,
            master=self.master,
            master_host=self._watches.host,
            master_port=self._watches.port,
            master_password=self._watches.password,
            **self._settings,
        )
        self.config_file.write_text(text, encoding="utf-8")

    @override
    async def is_ready(self) -> bool:
        request = f"AUTH {self.password}\r\nPING\r\n".encode()
        return b"+PONG" in await exchange(self.host, self.port, request, until=b"+PONG\r\n")

    async def cli(self, *arguments: str) -> str:
        """Run one command through redis-cli and return what it prints.

        Raises:
            CommandFailedError: the Sentinel cannot be reached or answered with an error.
        """
        command = command_line([program("redis-cli"), "-e", "-h", self.host, "-p", str(self.port), *arguments])
        return (await run(command, environment={"REDISCLI_AUTH": self.password})).rstrip("\n")

    async def fields(self) -> dict[str, str]:
        """What it knows of the master: `SENTINEL MASTER`."""
        lines = (await self.cli("SENTINEL", "MASTER", self.master)).splitlines()
        return dict(zip(lines[::2], lines[1::2], strict=True))


class SentinelGroup(Lifetime):
    """A Redis master with a replica, and Sentinels that know the replica and one another.

    Attributes:
        redis: the servers, redis1, redis2, ...; the first is the master of the beginning.
        sentinels: those that watch it.

    Args:
        replicas: how many servers follow the master.
        sentinels: how many watch it; more than half of them have to find it down.
        down_after_ms: as for `SentinelServer`.
    """

    def __init__(self, *, replicas: int = 1, sentinels: int = 3, down_after_ms: int = 500) -> None:
        self._temporary = True
        master = RedisServer(name="redis1")
        self.redis = [master, *(RedisServer(name=f"redis{n + 2}", replica_of=master) for n in range(replicas))]
        self.sentinels = [
            SentinelServer(
                name=f"sentinel{n + 1}", watches=master, quorum=sentinels // 2 + 1, down_after_ms=down_after_ms
            )
            for n in range(sentinels)
        ]

    @override
    async def start(self, *, within: float = START_SECONDS) -> None:
        """Start everything, and wait until a failover would be authorised and has somewhere to go."""
        await asyncio.gather(*(server.start(within=within) for server in self.redis))
        await asyncio.gather(*(sentinel.start(within=within) for sentinel in self.sentinels))
        if not await until(self._is_formed, within=within):
            log = self.sentinels[0].log_text()[-2000:]
            raise ServerStartError(f"the Sentinels do not know one another and the replicas within {within} s: {log}")

    async def _is_formed(self) -> bool:
        known = await asyncio.gather(*(sentinel.fields() for sentinel in self.sentinels))
        return all(
            int(one["num-other-sentinels"]) == len(self.sentinels) - 1
            and int(one["num-slaves"]) == len(self.redis) - 1
            for one in known
        )  # fmt: skip

    @override
    async def stop(self) -> None:
        """Stop the Sentinels, then the servers: the other way round they would fail over."""
        await asyncio.gather(*(sentinel.stop() for sentinel in self.sentinels))
        await asyncio.gather(*(server.stop() for server in self.redis))

    @override
    async def kill(self) -> None:
        """SIGKILL all of them."""
        await asyncio.gather(*(server.kill() for server in (*self.sentinels, *self.redis)))

    @override
    def discard(self) -> None:
        """Release the ports and remove the directories. Nothing may run any more."""
        for server in (*self.sentinels, *self.redis):
            server.discard()
