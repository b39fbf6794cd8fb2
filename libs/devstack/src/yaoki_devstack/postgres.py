"""One PostgreSQL node: a data directory and a port, run as primary or as streaming standby.

Preparing is separate from starting: after `prepare()` an agent can start the node by itself with `argv`, as
`identity`, in `data_dir`. The handles find the processes by `data_dir`, whoever started them.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import struct
from enum import Enum
from typing import TYPE_CHECKING, ClassVar, Literal

from typing_extensions import override

from yaoki_devstack.binaries import PostgresBinaries, postgres_binaries
from yaoki_devstack.cleanup import remove_shared_memory
from yaoki_devstack.errors import ServerNotRunningError, UnavailableHereError
from yaoki_devstack.postgres_template import (
    NODE_CONFIG,
    PostgresCredentials,
    create_data_directory,
    run_single_user,
)
from yaoki_devstack.process import run
from yaoki_devstack.proctree import send, wait_until_none
from yaoki_devstack.server import STOP_SECONDS, LocalServer, command_line
from yaoki_devstack.users import Identity, can_reach, postgres_identity
from yaoki_devstack.wire import exchange

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

Role = Literal["app", "superuser", "replication"]

_PROTOCOL_3 = 196_608


class StopMode(Enum):
    """How PostgreSQL is asked to stop. Smart waits until every client has left, possibly for ever."""

    SMART = signal.SIGTERM
    FAST = signal.SIGINT
    IMMEDIATE = signal.SIGQUIT


class PostgresServer(LocalServer):
    """One PostgreSQL node; a streaming standby when `primary` is given.

    Args:
        name: the node's name; also its `application_name` and slot name as a standby (lower case, digits,
            `_`).
        directory: as for every server.
        port: as for every server.
        primary: the node to clone at `prepare()` and to follow from the first start on.
        credentials: roles, passwords and the application's database.
        settings: configuration parameters of this node, kept outside the data directory.
        fsync: False trades durability for speed in tests that kill nothing.
        detached: as for every server.
    """

    program: ClassVar[str] = "postgres"

    def __init__(
        self,
        *,
        name: str = "db1",
        directory: Path | None = None,
        port: int | None = None,
        primary: PostgresServer | None = None,
        credentials: PostgresCredentials | None = None,
        settings: Mapping[str, str] | None = None,
        fsync: bool = True,
        detached: bool = False,
    ) -> None:
        super().__init__(name=name, directory=directory, port=port, detached=detached)
        self.primary = primary
        self.credentials = credentials or PostgresCredentials()
        self.settings = {"fsync": "on" if fsync else "off", **(settings or {})}
        self._identity = postgres_identity()
        self.binaries: PostgresBinaries = postgres_binaries(self._identity)
        self.config_file = self.directory / NODE_CONFIG
        self.directory.chmod(0o755)
        if self._identity is not None:
            os.chown(self.directory, self._identity.uid, self._identity.gid)

    @property
    @override
    def url(self) -> str:
        return self.dsn()

    def dsn(self, role: Role = "app", *, database: str | None = None, port: int | None = None) -> str:
        """Return a libpq URI for a role; `port` replaces the node's own, for instance by that of a proxy."""
        user, password = self._account(role)
        name = database or ("postgres" if role == "superuser" else self.credentials.database)
        return f"postgresql://{user}:{password}@{self.host}:{port or self.port}/{name}"

    def primary_conninfo(self, source: PostgresServer, *, port: int | None = None) -> str:
        """Return the `primary_conninfo` with which this node follows `source`."""
        user, password = self._account("replication")
        address = f"host={source.host} port={port or source.port}"
        return f"{address} user={user} password={password} application_name={self.name}"

    def _account(self, role: Role) -> tuple[str, str]:
        known = self.credentials
        accounts = {
            "app": (known.app_user, known.app_password),
            "superuser": (known.superuser, known.superuser_password),
            "replication": (known.replication_user, known.replication_password),
        }
        return accounts[role]

    @property
    @override
    def argv(self) -> list[str]:
        return command_line([self.binaries.postgres, "-D", self.data_dir])

    @property
    @override
    def identity(self) -> Identity | None:
        return self._identity

    @property
    @override
    def pid(self) -> int:
        postmaster = self._postmaster()
        if postmaster is None:
            raise ServerNotRunningError(f"node '{self.name}' has no postmaster in {self.data_dir}; start() it first")
        return postmaster

    @property
    def _pid_file(self) -> Path:
        return self.data_dir / "postmaster.pid"

    def _postmaster(self) -> int | None:
        """Return the pid in postmaster.pid if that process lives: orphaned backends are no server."""
        try:
            pid = int(self._pid_file.read_text(encoding="utf-8").split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            return None
        return pid if pid in {process.pid for process in self.processes()} else None

    @override
    async def is_ready(self) -> bool:
        # The server asks for a password once it accepts connections, and answers with an error before.
        parameters = f"user\0{self.credentials.superuser}\0database\0postgres\0\0".encode()
        packet = struct.pack("!ii", len(parameters) + 8, _PROTOCOL_3) + parameters
        return (await exchange(self.host, self.port, packet)).startswith(b"R")

    @override
    async def prepare(self) -> None:
        if not can_reach(self.directory, self.identity):
            raise UnavailableHereError(
                f"user '{self.identity and self.identity.name}', whom PostgreSQL runs as, cannot reach "
                f"{self.directory}; choose a directory open to other users, or none for a temporary one"
            )
        self._write_node_config()
        if self.data_dir.exists():
            return
        if self.primary is None:
            await create_data_directory(
                self.data_dir, binaries=self.binaries, credentials=self.credentials, identity=self.identity
            )
        elif self.primary.running:
            await self.clone(self.primary)
        else:
            await self._copy_stopped(self.primary)

    async def clone(self, source: PostgresServer) -> None:
        """Replace the data directory by a base backup of the running `source`, as its standby.

        The node must be stopped. Creates the slot named after this node on `source` if it is not there.
        """
        if self.running:
            raise ServerNotRunningError(f"node '{self.name}' is running (pid {self.pid}); stop() it before clone()")
        await asyncio.to_thread(shutil.rmtree, self.data_dir, ignore_errors=True)
        await source.create_slot(self.name)
        await run(
            [
                *(
                    self.binaries.pg_basebackup,
                    "-D",
                    self.data_dir,
                    "-h",
                    source.host,
                    "-p",
                    str(source.port),
                ),
                *("-U", self.credentials.replication_user, "-S", self.name, "-X", "stream", "-c", "fast"),
                *(() if self.settings["fsync"] == "on" else ("--no-sync",)),
            ],
            environment={"PGPASSWORD": self.credentials.replication_password},
            identity=self.identity,
        )
        self.follow(source)

    async def _copy_stopped(self, source: PostgresServer) -> None:
        """Clone a primary that does not run: the same result as a base backup, without starting anything."""
        await source.prepare()
        slots = source.data_dir / "pg_replslot" / self.name
        if not slots.exists():
            await run_single_user(
                source.data_dir,
                [f"SELECT pg_create_physical_replication_slot('{self.name}')"],
                binaries=self.binaries,
                identity=self.identity,
            )
        await run(["cp", "-a", "--reflink=auto", source.data_dir, self.data_dir])
        for copied in (self.data_dir / "pg_replslot").iterdir():
            await asyncio.to_thread(shutil.rmtree, copied)
        self.follow(source)

    def follow(self, source: PostgresServer, *, port: int | None = None) -> None:
        """Write into the data directory that the next start is as a standby of `source`."""
        self.write_automatic_settings(
            {"primary_conninfo": self.primary_conninfo(source, port=port), "primary_slot_name": self.name}
        )
        self._write(self.data_dir / "standby.signal", "")

    def write_automatic_settings(self, settings: Mapping[str, str]) -> None:
        """Replace what `ALTER SYSTEM` has set by `settings`; a running node must be reloaded after it."""
        lines = [f"{name} = {_quoted(value)}" for name, value in settings.items()]
        self._write(self.data_dir / "postgresql.auto.conf", "\n".join([*lines, ""]))

    def _write_node_config(self) -> None:
        settings = {"port": str(self.port), "cluster_name": self.name, **self.settings}
        lines = [f"{name} = {_quoted(value)}" for name, value in settings.items()]
        self._write(self.config_file, "\n".join([*lines, ""]))

    def _write(self, path: Path, text: str) -> None:
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)
        if self._identity is not None:
            os.chown(path, self._identity.uid, self._identity.gid)

    @override
    def launch(self) -> None:
        if not self.running:
            # The pid of a killed postmaster may still exist as a zombie that nobody has waited for;
            # PostgreSQL would take it for a living one and refuse to start.
            remove_shared_memory(self._pid_file)
            self._pid_file.unlink(missing_ok=True)
        super().launch()

    async def psql(self, sql: str, *, database: str = "postgres", role: Role = "superuser") -> str:
        """Run SQL and return the rows, one a line, columns separated by `|`.

        Raises:
            CommandFailedError: the server cannot be reached or refused a statement.
        """
        target = self.dsn(role, database=database)
        command = command_line([self.binaries.psql, "-XAtq", "-v", "ON_ERROR_STOP=1", "-f", "-", target])
        return (await run(command, identity=self.identity, stdin=sql)).rstrip("\n")

    async def create_slot(self, name: str) -> None:
        """Create the physical replication slot `name` if it is not there."""
        await self.psql(
            f"SELECT pg_create_physical_replication_slot('{name}') "  # noqa: S608 - node names of the caller
            f"WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = '{name}')"
        )

    async def promote(self) -> None:
        """Promote the standby and wait until it is writable."""
        await self.psql("SELECT pg_promote(true, 30)")

    @override
    async def stop(self, *, within: float = STOP_SECONDS, mode: StopMode = StopMode.FAST) -> None:
        postmaster = self._postmaster()
        if postmaster is not None:
            await self.resume()
            send([process for process in self.processes() if process.pid == postmaster], mode.value)
            await wait_until_none(self.processes, within=within)
        # Whatever is left: backends without a postmaster, or a server that did not end in time.
        await self.kill()

    @override
    async def kill(self, *, within: float = STOP_SECONDS) -> None:
        await super().kill(within=within)
        # A host that lost power keeps no shared memory either.
        remove_shared_memory(self._pid_file)

    async def kill_tree(self) -> None:
        """SIGKILL the postmaster and every backend, as when the host loses power; the same as `kill()`."""
        await self.kill()

    async def kill_postmaster_only(self) -> None:
        """SIGKILL the postmaster alone. Backends that are busy go on, and may still commit."""
        pid = self.pid
        send([process for process in self.processes() if process.pid == pid], signal.SIGKILL)
        await wait_until_none(
            lambda: [process for process in self.processes() if process.pid == pid], within=STOP_SECONDS
        )


def quorum_of(names: Iterable[str]) -> str:
    """Return the `synchronous_standby_names` under which any one of `names` must confirm a commit."""
    listed = ", ".join(f'"{name}"' for name in names)
    return f"ANY 1 ({listed})"


def _quoted(value: str) -> str:
    escaped = value.replace("'", "''")
    return f"'{escaped}'"
