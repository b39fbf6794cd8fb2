"""redis-server: a master, and replicas that follow it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from yaoki_devstack.binaries import program
from yaoki_devstack.process import run
from yaoki_devstack.server import LocalServer, command_line
from yaoki_devstack.wire import exchange

if TYPE_CHECKING:
    from pathlib import Path

REDIS_PASSWORD = "redis-secret"  # noqa: S105 - of a throw-away server on loopback

_CONFIG = """\
bind {host}
port {port}
dir "{data}"
daemonize no
save ""
appendonly {appendonly}
appendfsync everysec
requirepass "{password}"
masterauth "{password}"
repl-diskless-sync yes
repl-diskless-sync-delay 0
repl-ping-replica-period 1
repl-timeout 10
"""


class RedisServer(LocalServer):
    """One redis-server; a replica when `replica_of` is given.

    Its configuration file can be rewritten by `CONFIG REWRITE`, so what an agent changed survives a restart.

    Args:
        name: as for every server.
        directory: as for every server.
        port: as for every server.
        password: asked from clients and sent to the master.
        appendonly: keep an append-only file, so that a killed server has its data back after a start.
        replica_of: the master to follow from the first start on.
        detached: as for every server.
    """

    program: ClassVar[str] = "redis-server"

    def __init__(
        self,
        *,
        name: str = "redis",
        directory: Path | None = None,
        port: int | None = None,
        password: str = REDIS_PASSWORD,
        appendonly: bool = True,
        replica_of: RedisServer | None = None,
        detached: bool = False,
    ) -> None:
        super().__init__(name=name, directory=directory, port=port, detached=detached)
        self.password = password
        self.appendonly = appendonly
        self.replica_of = replica_of
        self.config_file = self.directory / "redis.conf"

    @property
    @override
    def url(self) -> str:
        return f"redis://:{self.password}@{self.host}:{self.port}/0"

    @property
    @override
    def argv(self) -> list[str]:
        return command_line([program("redis-server"), self.config_file])

    @override
    async def prepare(self) -> None:
        if self.config_file.exists():
            return
        self.data_dir.mkdir(exist_ok=True)
        text = _CONFIG.format(
            host=self.host,
            port=self.port,
            data=self.data_dir,
            appendonly="yes" if self.appendonly else "no",
            password=self.password,
        )
        if self.replica_of is not None:
            text += f"replicaof {self.replica_of.host} {self.replica_of.port}\n"
        self.config_file.write_text(text, encoding="utf-8")

    @override
    async def is_ready(self) -> bool:
        request = f"AUTH {self.password}\r\nPING\r\n".encode()
        return b"+PONG" in await exchange(self.host, self.port, request, until=b"+PONG\r\n")

    async def cli(self, *arguments: str) -> str:
        """Run one command through redis-cli and return what it prints.

        Raises:
            CommandFailedError: the server cannot be reached or answered with an error.
        """
        command = command_line([program("redis-cli"), "-e", "-h", self.host, "-p", str(self.port), *arguments])
        return (await run(command, environment={"REDISCLI_AUTH": self.password})).rstrip("\n")

    async def replication(self) -> dict[str, str]:
        """Return the fields of `INFO replication`, such as `role` and `master_link_status`."""
        lines = (await self.cli("INFO", "replication")).splitlines()
        return dict(line.strip().split(":", 1) for line in lines if ":" in line)
