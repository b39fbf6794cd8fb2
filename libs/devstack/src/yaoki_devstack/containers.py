"""Single servers from containers, where YAOKI_DEVSTACK=docker asks for it and a Docker engine answers.

They fulfil `yaoki_devstack.server.Server`. Replication, full disks and orphaned backends need the local
servers.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from testcontainers.core.container import DockerContainer

from yaoki_devstack.errors import ServerStartError
from yaoki_devstack.postgres_template import PostgresCredentials
from yaoki_devstack.redis import REDIS_PASSWORD
from yaoki_devstack.s3 import S3_ACCESS_KEY, S3_SECRET_KEY
from yaoki_devstack.server import START_SECONDS
from yaoki_devstack.waiting import until
from yaoki_devstack.wire import exchange

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Self

_PULL_SECONDS = 300.0
_DEFAULT_SOCKET = "unix:///var/run/docker.sock"
_PING = b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n"


@dataclass(frozen=True, kw_only=True)
class ContainerSpec:
    """What to run, and how to talk to it.

    Attributes:
        name: names the server in messages.
        image: the image with its tag.
        port: the port inside the container.
        url: the clients' address with `{host}` and `{port}`.
        greeting: what to send to see whether the server answers; it must answer with something.
        command: arguments for the image's entry point.
        environment: variables of the container.
    """

    name: str
    image: str
    port: int
    url: str
    greeting: bytes
    command: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


NATS = ContainerSpec(name="nats", image="nats:2.12", port=4222, url="nats://{host}:{port}", greeting=b"", command="-js")
REDIS = ContainerSpec(
    name="redis",
    image="redis:7",
    port=6379,
    url=f"redis://:{REDIS_PASSWORD}@{{host}}:{{port}}/0",
    greeting=f"AUTH {REDIS_PASSWORD}\r\n".encode(),
    command=f"redis-server --requirepass {REDIS_PASSWORD} --appendonly yes",
)
_ACCOUNTS = PostgresCredentials()
POSTGRES = ContainerSpec(
    name="postgres",
    image="postgres:18",
    port=5432,
    url=f"postgresql://{_ACCOUNTS.app_user}:{_ACCOUNTS.app_password}@{{host}}:{{port}}/{_ACCOUNTS.database}",
    # SSLRequest: answered by one byte as soon as the server listens.
    greeting=bytes.fromhex("0000000804d2162f"),
    environment={
        "POSTGRES_USER": _ACCOUNTS.app_user,
        "POSTGRES_PASSWORD": _ACCOUNTS.app_password,
        "POSTGRES_DB": _ACCOUNTS.database,
    },
)
S3 = ContainerSpec(
    name="s3",
    image="chrislusf/seaweedfs:4.48",
    port=8333,
    url="http://{host}:{port}",
    greeting=b"GET /healthz HTTP/1.0\r\n\r\n",
    command="mini -dir=/data",
    environment={"AWS_ACCESS_KEY_ID": S3_ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": S3_SECRET_KEY},
)


async def docker_wanted() -> bool:
    """Say whether YAOKI_DEVSTACK=docker is set and an engine answers at DOCKER_HOST or the usual socket.

    Raises:
        ServerStartError: it is set, and no engine answers.
    """
    if os.environ.get("YAOKI_DEVSTACK") != "docker":
        return False
    address = os.environ.get("DOCKER_HOST", _DEFAULT_SOCKET)
    if not await engine_answers(address):
        raise ServerStartError(
            f"YAOKI_DEVSTACK=docker is set, but no Docker engine answers at {address}; start it, or "
            "unset the variable to use local servers"
        )
    return True


async def engine_answers(address: str) -> bool:
    """Ping the Docker engine at `unix://...` or `tcp://...`."""
    target = urlsplit(address)
    if target.scheme != "unix":
        return b"OK" in await exchange(target.hostname or "localhost", target.port or 2375, _PING, until=b"OK")
    try:
        async with asyncio.timeout(1.0):
            reader, writer = await asyncio.open_unix_connection(Path(target.path))
            try:
                writer.write(_PING)
                return b"OK" in await reader.read()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False


class ContainerServer:
    """One server in a container; testcontainers' own reaper removes it when this process is killed."""

    def __init__(self, spec: ContainerSpec) -> None:
        self.spec = spec
        self.name = spec.name
        container = DockerContainer(spec.image).with_exposed_ports(spec.port).with_command(spec.command)
        for name, value in spec.environment.items():
            container = container.with_env(name, value)
        self._container = container

    @property
    def host(self) -> str:
        """Where the engine publishes the port."""
        return str(self._container.get_container_host_ip())

    @property
    def port(self) -> int:
        """The published port; another one after each start."""
        return int(self._container.get_exposed_port(self.spec.port))

    @property
    def url(self) -> str:
        """The address for clients, credentials included."""
        return self.spec.url.format(host=self.host, port=self.port)

    async def start(self, *, within: float = START_SECONDS) -> None:
        """Pull the image if need be, start the container and wait until the server answers."""
        await asyncio.wait_for(asyncio.to_thread(self._container.start), _PULL_SECONDS)
        await self._wait_ready(within)

    async def stop(self) -> None:
        """Stop and remove the container with its data."""
        await asyncio.to_thread(self._container.stop)

    async def restart(self, *, within: float = START_SECONDS) -> None:
        """Stop the server and start it with the same data."""
        await asyncio.to_thread(self._container.get_wrapped_container().restart)
        await self._wait_ready(within)

    async def kill(self) -> None:
        """SIGKILL every process of the container."""
        await asyncio.to_thread(self._container.get_wrapped_container().kill)

    async def pause(self) -> None:
        """Freeze every process of the container."""
        await asyncio.to_thread(self._container.get_wrapped_container().pause)

    async def resume(self) -> None:
        """Thaw the container."""
        await asyncio.to_thread(self._container.get_wrapped_container().unpause)

    def log_text(self) -> str:
        """Return what the container has printed."""
        return "".join(part.decode(errors="replace") for part in self._container.get_logs())

    async def _wait_ready(self, within: float) -> None:

        async def answers() -> bool:
            return bool(await exchange(self.host, self.port, self.spec.greeting))

        if not await until(answers, within=within):
            log = self.log_text()[-2000:]
            raise ServerStartError(f"container '{self.name}' did not answer within {within} s: {log}")

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
