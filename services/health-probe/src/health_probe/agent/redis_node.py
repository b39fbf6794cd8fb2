"""One redis-server: its configuration file, its process, and what is asked of it."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import msgspec
import redis.asyncio
import redis.exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from yaoki.errors import ErrorCode, TransientError

from health_probe.agent import processes
from health_probe.agent.programs import ServerUser, environment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_KILL_S = 10.0


class RedisView(msgspec.Struct, frozen=True, kw_only=True):
    """A running Redis as it describes itself.

    Attributes:
        offset: Replication offset, bytes.
        upstream: `(host, port)` of its master; None for a master.
        linked: The replica is connected to its master and in step.
    """

    master: bool
    offset: int
    upstream: tuple[str, int] | None
    linked: bool


class RedisNode:
    """Runs the server of one data directory.

    Args:
        config_file: Written before each start; holds the password, so only the server's user reads it.
        user: Whom the server runs as.
        login: ACL user and password, for itself and towards its master.
    """

    def __init__(
        self,
        *,
        data_directory: Path,
        config_file: Path,
        log_file: Path,
        binary: Path,
        user: ServerUser,
        host: str,
        port: int,
        login: tuple[str | None, str | None],
    ) -> None:
        self.data_directory = data_directory
        self._config_file = config_file
        self._log_file = log_file
        self._binary = binary
        self._user = user
        self._host = host
        self._port = port
        self._login = login
        self._child: subprocess.Popen[bytes] | None = None

    def working(self) -> frozenset[int]:
        """Pids of all living processes of the data directory."""
        if self._child is not None:
            self._child.poll()
        return processes.working_in(self.data_directory)

    def start(self, upstream: tuple[str, int] | None) -> None:
        """Start as a replica of `upstream`, or as a master. Does not wait until it answers."""
        self.data_directory.mkdir(parents=True, exist_ok=True)
        self._user.own(self.data_directory, 0o700)
        self._write_config(upstream)
        with self._log_file.open("ab") as log:
            self._child = subprocess.Popen(  # noqa: S603 - the configured server
                [self._binary, self._config_file],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(),
                cwd=self.data_directory,
                start_new_session=True,
                **self._user.arguments(),
            )

    def _write_config(self, upstream: tuple[str, int] | None) -> None:
        name, password = self._login
        lines = [f"include {_quoted(str(own))}"] if (own := self.data_directory / "redis.conf").exists() else []
        lines += [
            f"bind {self._host if _is_loopback(self._host) else '* -::*'}",
            f"port {self._port}",
            f"dir {_quoted(str(self.data_directory))}",
            "daemonize no",
            "appendonly yes",
        ]
        if password is not None:
            lines += [f"requirepass {_quoted(password)}"] if name is None else [f"masteruser {_quoted(name)}"]
            lines += [f"masterauth {_quoted(password)}"]
        if upstream is not None:
            lines += [f"replicaof {upstream[0]} {upstream[1]}"]
        descriptor = os.open(self._config_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write("\n".join([*lines, ""]))
        self._user.own(self._config_file, 0o600)

    async def stop(self, *, patience_s: float = 2.0) -> None:
        """Stop the server, by force if it takes longer than `patience_s`; return when no process is left.

        Raises:
            TransientError: Processes survive SIGKILL.
        """
        processes.send(self.working(), self.data_directory, signal.SIGTERM)
        if await asyncio.to_thread(processes.wait_until_none, self.data_directory, within=patience_s):
            return
        left = await asyncio.to_thread(processes.kill_all, self.data_directory, within=_KILL_S)
        if left:
            raise TransientError(
                f"processes {sorted(left)} of {self.data_directory} survive SIGKILL", code=ErrorCode.UNSAFE
            )

    async def view(self, timeout_s: float = 2.0) -> RedisView | None:
        """How the server describes itself; None when it does not answer."""
        try:
            info = await self._ask("INFO", "replication", timeout_s=timeout_s)
        except TransientError:
            return None
        fields: dict[str, Any] = info if isinstance(info, dict) else {}
        master = fields.get("role") == "master"
        offset = fields.get("master_repl_offset" if master else "slave_repl_offset", 0)
        return RedisView(
            master=master,
            offset=int(offset),
            upstream=None if master else (str(fields.get("master_host")), int(fields.get("master_port", 0))),
            linked=fields.get("master_link_status") == "up",
        )

    async def promote(self) -> None:
        """Make it a master; nothing happens to one that is."""
        await self._ask("REPLICAOF", "NO", "ONE")

    async def follow(self, host: str, port: int) -> None:
        """Make it a replica."""
        await self._ask("REPLICAOF", host, str(port))

    async def write_rule(self) -> dict[str, str]:
        """The settings by which the server refuses writes for want of replicas."""
        answer = await self._ask("CONFIG", "GET", "min-replicas-*")
        if isinstance(answer, dict):
            return {str(name): str(value) for name, value in answer.items()}
        return dict(zip(answer[::2], answer[1::2], strict=True))

    async def set_write_rule(self, rule: Mapping[str, str]) -> None:
        """Set what `write_rule` answers, until the server is started anew."""
        for name, value in rule.items():
            await self._ask("CONFIG", "SET", name, value)

    async def _ask(self, *command: str, timeout_s: float = 2.0) -> Any:
        name, password = self._login
        client = redis.asyncio.Redis(
            host=self._host,
            port=self._port,
            username=name,
            password=password,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            decode_responses=True,
            single_connection_client=True,
            retry=Retry(NoBackoff(), 0),  # redis-py would try a dead server again for seconds
        )
        try:
            async with asyncio.timeout(timeout_s):
                return await client.execute_command(*command)  # type: ignore[no-untyped-call]  # the driver has no types here
        except (redis.exceptions.RedisError, OSError, TimeoutError) as exc:
            raise TransientError(
                f"Redis at {self._host}:{self._port} did not answer {command[0]}: {type(exc).__name__}"
            ) from exc
        finally:
            await client.aclose()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
