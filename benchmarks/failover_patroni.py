"""Failover side by side with Patroni: how long clients cannot write, on the same PostgreSQL binaries and load.

    python benchmarks/failover_patroni.py [--rounds 5] [--only ours|patroni]

Synchronous pairs of one primary and one standby, and four clients that insert rows all along and look for the primary
themselves. Two losses, each several times: every process of PostgreSQL is killed while its agent lives, and the whole
node is killed, agent (and watchdog) included. A figure is the longest time in which no client's insert was
acknowledged. Yaoki is what `make up` starts; Patroni runs on etcd, once with its default settings and once with the
quickest that it accepts. Each round begins when a synchronous standby follows. Prints one JSON object a line.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import psutil
import structlog
from _figures import figure
from _outage import Writers
from _patroni import PASSWORD, USER, PatroniCluster
from yaoki.testing import eventually
from yaoki_cli.local.services import Service
from yaoki_cli.local.system import LocalSystem
from yaoki_devstack.errors import DevStackError
from yaoki_devstack.postgres_template import PostgresCredentials

if TYPE_CHECKING:
    from yaoki_devstack.postgres import PostgresServer

BENCH = "failover-patroni"
KILLED_LIMIT_S = 2.0
NODE_LIMIT_S = 5.0
_READY_S = 240.0
_STANDBYS = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND sync_state IN ('sync', 'quorum')"
PATRONI = {
    "patroni ttl 30, loop_wait 10": {"ttl": 30, "loop_wait": 10, "retry_timeout": 10, "primary_start_timeout": 300},
    "patroni ttl 20, loop_wait 1": {"ttl": 20, "loop_wait": 1, "retry_timeout": 3, "primary_start_timeout": 0},
}


class Cluster(Protocol):
    """A synchronous pair, whoever manages it."""

    async def wait_synchronous(self) -> str:
        """The primary's name, once a synchronous standby follows it."""
        ...

    async def kill_postgres(self, member: str) -> None:
        """SIGKILL every process of the member's PostgreSQL."""
        ...

    async def kill_node(self, member: str) -> None:
        """SIGKILL those, and everything that guards them."""
        ...

    def start(self, member: str) -> None:
        """Start what guards the member again."""
        ...


class GuardedPair:
    """The PostgreSQL pair of a local system that is up."""

    def __init__(self, system: LocalSystem) -> None:
        self._system = system
        self._postgres = system.stack().postgres
        self._agents: dict[str, list[str]] = {}

    @property
    def ports(self) -> list[int]:
        """Of the PostgreSQL servers."""
        return [node.port for node in self._postgres.nodes]

    async def wait_synchronous(self) -> str:
        """See `Cluster`."""

        async def primary() -> str:
            for node in self._postgres.nodes:
                if await self._has_standby(node):
                    return node.name
            return ""

        return await eventually(primary, within=_READY_S, poll=0.2)

    async def _has_standby(self, node: PostgresServer) -> bool:
        try:
            return await node.psql(_STANDBYS) == "1"
        except DevStackError:
            return False

    async def kill_postgres(self, member: str) -> None:
        """See `Cluster`."""
        await self._postgres.node(member).kill()

    async def kill_node(self, member: str) -> None:
        """See `Cluster`."""
        agents = self._system.services.processes(f"agent-{member}")
        self._agents[member] = agents[0].cmdline()
        for process in (*agents, *self._watchdogs(member)):
            process.send_signal(signal.SIGKILL)
        await self.kill_postgres(member)

    def start(self, member: str) -> None:
        """See `Cluster`."""
        self._system.services.start(Service(name=f"agent-{member}", arguments=tuple(self._agents[member][1:])))

    def _watchdogs(self, member: str) -> list[psutil.Process]:
        state = str(self._system.directory / "agents" / member)
        words = {"health_probe.agent.watchdog_main", state}
        return [one for one in psutil.process_iter(["cmdline"]) if words <= set(one.info["cmdline"] or ())]


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description="Unavailability of writes, beside Patroni.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=("ours", "patroni"))
    arguments = parser.parse_args()
    # Connections that break while they are made leave futures behind, of which asyncio would tell.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    # Standard output is for figures alone.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    if arguments.only != "patroni":
        killed, lost = asyncio.run(_measure_ours(arguments.rounds))
        _print(killed, lost, killed_limit_s=KILLED_LIMIT_S, lost_limit_s=NODE_LIMIT_S)
    if arguments.only != "ours":
        for peer, settings in PATRONI.items():
            killed, lost = asyncio.run(_measure_patroni(settings, arguments.rounds))
            _print(killed, lost, peer=peer)


async def _measure_ours(rounds: int) -> tuple[list[float], list[float]]:
    credentials = PostgresCredentials()
    with tempfile.TemporaryDirectory(prefix="yaoki-bench-") as directory:
        Path(directory).chmod(0o755)  # noqa: ASYNC240 - once, before anything runs; PostgreSQL's own user has to pass
        system = LocalSystem(Path(directory) / "local")
        try:
            await system.up(_say)
            pair = GuardedPair(system)
            login = {"user": credentials.superuser, "password": credentials.superuser_password}
            async with Writers(pair.ports, database=credentials.database, **login) as writers:
                return await _rounds(pair, writers, rounds)
        finally:
            await system.down()


async def _measure_patroni(settings: dict[str, int], rounds: int) -> tuple[list[float], list[float]]:
    async with (
        PatroniCluster(**settings) as pair,
        Writers(pair.ports, user=USER, password=PASSWORD, database="postgres") as writers,
    ):
        return await _rounds(pair, writers, rounds)


async def _rounds(pair: Cluster, writers: Writers, rounds: int) -> tuple[list[float], list[float]]:
    """The silences with PostgreSQL killed, and with the whole node killed, seconds."""
    killed, lost = [], []
    for _ in range(rounds):
        killed.append(await _round(pair, writers, "PostgreSQL", node=False))
        lost.append(await _round(pair, writers, "node", node=True))
    return killed, lost


async def _round(pair: Cluster, writers: Writers, what: str, *, node: bool) -> float:
    primary = await pair.wait_synchronous()
    await writers.steady()
    began = time.monotonic()
    await (pair.kill_node(primary) if node else pair.kill_postgres(primary))
    silence = await writers.silence_after(began)
    _say(f"{what} of {primary} killed: no write for {silence:.2f} s")
    if node:
        pair.start(primary)
    return silence


def _print(
    killed: list[float],
    lost: list[float],
    *,
    peer: str = "",
    killed_limit_s: float | None = None,
    lost_limit_s: float | None = None,
) -> None:
    figure(BENCH, "postgres_killed_median_s", statistics.median(killed), at_most=killed_limit_s, peer=peer)
    figure(BENCH, "postgres_killed_worst_s", max(killed), peer=peer)
    figure(BENCH, "node_killed_median_s", statistics.median(lost), at_most=lost_limit_s, peer=peer)
    figure(BENCH, "node_killed_worst_s", max(lost), peer=peer)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    main()
