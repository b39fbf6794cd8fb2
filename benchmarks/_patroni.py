"""Patroni on etcd with two PostgreSQL of the devstack's binaries, to be measured beside Yaoki."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import yaml
from yaoki.testing import eventually
from yaoki_devstack import ports
from yaoki_devstack.binaries import postgres_binaries
from yaoki_devstack.process import spawn
from yaoki_devstack.proctree import working_in
from yaoki_devstack.server import remove_temporary, temporary_directory
from yaoki_devstack.users import postgres_identity

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from yaoki_devstack.users import Identity

ROOT = Path(__file__).parents[1]
MEMBERS = ("db1", "db2")
USER, PASSWORD = "postgres", "postgres-secret"
_REPLICATION = {"username": "replicator", "password": "replication-secret"}
_READY_S = 240.0


class PatroniCluster:
    """A synchronous pair under Patroni; started on entry, killed on exit.

    Args:
        ttl: Of the leader's key, seconds.
        loop_wait: Between two looks of Patroni, seconds.
        retry_timeout: For etcd and PostgreSQL; Patroni wants `loop_wait + 2 * retry_timeout <= ttl`.
        primary_start_timeout: How long a crashed primary may take to start before another is promoted, seconds.
    """

    def __init__(self, *, ttl: int, loop_wait: int, retry_timeout: int, primary_start_timeout: int) -> None:
        self._dynamic: dict[str, Any] = {
            "ttl": ttl,
            "loop_wait": loop_wait,
            "retry_timeout": retry_timeout,
            "primary_start_timeout": primary_start_timeout,
            "synchronous_mode": True,
            "postgresql": {"use_pg_rewind": True, "parameters": {"wal_keep_size": "64MB", "shared_buffers": "32MB"}},
        }
        self._identity = postgres_identity()
        self._binaries = postgres_binaries(self._identity)
        self._directory = temporary_directory("patroni")
        self._leases = [ports.lease() for _ in range(2 + 2 * len(MEMBERS))]
        self._etcd, self._etcd_peer, *rest = [lease.number for lease in self._leases]
        self._api = dict(zip(MEMBERS, rest[::2], strict=True))
        self._postgres = dict(zip(MEMBERS, rest[1::2], strict=True))
        self._patroni: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def ports(self) -> list[int]:
        """Of the PostgreSQL servers."""
        return list(self._postgres.values())

    async def __aenter__(self) -> Self:
        if self._identity is not None:
            shutil.chown(self._directory, self._identity.uid, self._identity.gid)
        self._start_etcd()
        try:
            for member in MEMBERS:
                self._configure(member)
                self.start(member)
            await self.wait_synchronous()
        except BaseException:
            self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def start(self, member: str) -> None:
        """Start the member's Patroni, which starts its PostgreSQL."""
        self._patroni[member] = spawn(
            [*_as(self._identity), Path(sys.executable).with_name("patroni"), self._directory / f"{member}.yml"],
            cwd=self._directory,
            log_file=self._directory / f"{member}.log",
        )

    async def wait_synchronous(self) -> str:
        """The leader's name, once a synchronous standby follows it."""

        async def leader() -> str:
            roles = {one["role"]: one for one in await self._members()}
            found, standby = roles.get("leader"), roles.get("sync_standby")
            healthy = found and standby and found["state"] == "running" and standby["state"] == "streaming"
            return str(found["name"]) if healthy and found else ""

        return await eventually(leader, within=_READY_S, poll=0.2)

    async def kill_postgres(self, member: str) -> None:
        """SIGKILL everything of the member's PostgreSQL; its Patroni lives."""
        await asyncio.to_thread(_kill, self._servers(member))

    async def kill_node(self, member: str) -> None:
        """SIGKILL Patroni and PostgreSQL, as when the host loses power."""
        self._patroni[member].kill()
        self._patroni[member].wait()
        await self.kill_postgres(member)

    def log_text(self) -> str:
        """The end of what was logged."""
        return "\n".join(file.read_text(errors="replace")[-3000:] for file in sorted(self._directory.glob("*.log")))

    async def _members(self) -> list[dict[str, Any]]:
        async with httpx.AsyncClient(timeout=5.0) as http:
            for port in self._api.values():
                try:
                    return list((await http.get(f"http://127.0.0.1:{port}/cluster")).json()["members"])
                except (httpx.HTTPError, ValueError, KeyError):
                    continue
        return []

    def _servers(self, member: str) -> list[psutil.Process]:
        return working_in(self._directory / member)

    def _start_etcd(self) -> None:
        launcher = ROOT / ".tools" / "bin" / "etcd"
        if not launcher.exists():
            fetch = [sys.executable, str(ROOT / "scripts" / "fetch_tools.py"), "etcd"]
            subprocess.run(fetch, check=True, stdout=sys.stderr)  # noqa: S603 - our own script, no shell
        client, peer = f"http://127.0.0.1:{self._etcd}", f"http://127.0.0.1:{self._etcd_peer}"
        self._patroni["etcd"] = spawn(
            [
                *(launcher, "--name", "bench", "--data-dir", self._directory / "etcd"),
                *("--listen-client-urls", client, "--advertise-client-urls", client),
                *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
                *("--initial-cluster", f"bench={peer}", "--log-level", "error"),
            ],
            cwd=self._directory,
            log_file=self._directory / "etcd.log",
            identity=self._identity,
        )

    def _configure(self, member: str) -> None:
        api = f"127.0.0.1:{self._api[member]}"
        server = f"127.0.0.1:{self._postgres[member]}"
        superuser = {"username": USER, "password": PASSWORD}
        document = {
            "scope": "bench",
            "name": member,
            "restapi": {"listen": api, "connect_address": api},
            "etcd3": {"host": f"127.0.0.1:{self._etcd}"},
            "bootstrap": {"dcs": self._dynamic, "initdb": [{"encoding": "UTF8"}, {"locale": "C"}, "data-checksums"]},
            "postgresql": {
                "listen": server,
                "connect_address": server,
                "data_dir": str(self._directory / member),
                "bin_dir": str(self._binaries.directory),
                "pgpass": str(self._directory / f"{member}.pgpass"),
                "authentication": {"superuser": superuser, "replication": _REPLICATION, "rewind": superuser},
                "parameters": {"unix_socket_directories": "", "dynamic_shared_memory_type": "mmap"},
                "pg_hba": [f"host {what} all 127.0.0.1/32 scram-sha-256" for what in ("all", "replication")],
            },
        }
        (self._directory / f"{member}.yml").write_text(yaml.safe_dump(document), encoding="utf-8")

    def _end(self) -> None:
        for process in self._patroni.values():
            process.kill()
            process.wait()
        for member in MEMBERS:
            _kill(self._servers(member))
        for lease in self._leases:
            lease.release()
        remove_temporary(self._directory)


def _as(identity: Identity | None) -> list[str]:
    """Makes a program run as `identity`, who may read our environment wherever it lies, `/root` included."""
    if identity is None:
        return []
    rights = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    return ["setpriv", f"--reuid={identity.uid}", f"--regid={identity.gid}", "--clear-groups", *rights]


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(processes, timeout=20.0)
