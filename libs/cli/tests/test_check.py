"""`yaoki check`: the first thing that a new user runs, before anything else does."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from yaoki.checkup import CheckedTarget, CheckExit, Checkup
from yaoki.events.probe import ProbeStatus
from yaoki_cli.check import summary

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from yaoki_devstack.postgres_cluster import PostgresCluster
    from yaoki_devstack.redis import RedisServer

SECRETS = {"C_REDIS": "redis-secret", "C_DB": "app-secret"}


class Ran:
    """A finished `yaoki check`."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.out = out
        self.err = err

    def rows(self) -> dict[str, dict[str, Any]]:
        """By target, from the JSON."""
        return {row["target"]: row for row in json.loads(self.out)["targets"]}


async def check(file: Path, *arguments: str, environ: Mapping[str, str] | None = None) -> Ran:
    """`yaoki check`."""
    return await yaoki("check", str(file), *arguments, environ=SECRETS if environ is None else environ)


async def yaoki(*arguments: str, environ: Mapping[str, str]) -> Ran:
    """Run the command as a user does, with no NATS anywhere and nothing but `environ` and PATH set."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "yaoki_cli",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": "/usr/bin:/bin", **environ},
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return Ran(process.returncode, out.decode(), err.decode())


def configuration(folder: Path, targets: dict[str, Any], *, timeout: str = "1s", **sections: Any) -> Path:
    """A file whose NATS is a port where nobody listens."""
    file = folder / "yaoki.yaml"
    document = {
        "nats": {"servers": ["nats://127.0.0.1:1"]},
        "probe": {"defaults": {"timeout": timeout}},
        "targets": targets,
        **sections,
    }
    file.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return file


@asynccontextmanager
async def meeting_point(guests: int) -> AsyncIterator[int]:
    """A port whose connections all last until the last of `guests` has come, and then end; yields it."""
    everybody = asyncio.Event()
    present = 0

    async def receive(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal present
        present += 1
        if present == guests:
            everybody.set()
        await everybody.wait()
        writer.transport.abort()

    server = await asyncio.start_server(receive, "127.0.0.1", 0, backlog=guests)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        everybody.set()
        server.close()


def redis(server: RedisServer) -> dict[str, Any]:
    return {"kind": "redis", "host": server.host, "port": server.port, "password": "env:C_REDIS"}


@pytest.mark.real
async def test_every_target_is_looked_at_and_what_is_wrong_is_said_with_what_to_do(
    redis_server: RedisServer, postgres_server: PostgresCluster, tmp_path: Path
) -> None:
    """Without NATS; one that is well, one that is refused, one that lets nobody in, one that only a prober hears."""
    database = postgres_server.primary
    login = {"kind": "postgres", "host": database.host, "port": database.port, "database": "app"}
    file = configuration(
        tmp_path,
        {
            "cache": redis(redis_server),
            "db": {**login, "user": "yaoki_app", "password": "env:C_DB"},
            "locked": {**login, "user": "yaoki_app", "password": "env:C_REDIS"},
            "gone": {"kind": "tcp", "host": "127.0.0.1", "port": 1},
            "job": {"kind": "heartbeat", "every": "1h"},
        },
    )

    ran = await check(file, "--json")

    rows = ran.rows()
    assert list(rows) == ["cache", "db", "locked", "gone", "job"]
    assert [row["status"] for row in rows.values()] == ["healthy", "healthy", "unhealthy", "unhealthy", "unknown"]
    assert all(rows[name]["response_ms"] > 0 for name in ("cache", "db", "locked", "gone"))
    assert (rows["locked"]["error_class"], rows["gone"]["error_class"]) == ("auth", "refused")
    assert rows["locked"]["next"].startswith("correct the user and secret in targets.locked")
    assert rows["gone"]["next"] == "start it, or correct the address in targets.gone"
    assert rows["job"]["wrong"] == "not probed: only a running prober hears its check-ins, over NATS"
    assert 'nats req yaoki.api.probe.check \'{"target": "job"}\'' in rows["job"]["next"]
    assert ran.status == CheckExit.UNHEALTHY
    assert not [secret for secret in SECRETS.values() if secret in ran.out]
    assert ran.err == ""


@pytest.mark.real
async def test_a_missing_secret_is_named_and_the_others_are_probed(redis_server: RedisServer, tmp_path: Path) -> None:
    """Target, place and variable; ends with 2, because the environment is wrong and not the target."""
    file = configuration(
        tmp_path,
        {"cache": redis(redis_server), "db": {"kind": "postgres", "host": "h", "user": "u", "password": "env:C_DB"}},
    )

    ran = await check(file, "--json", environ={"C_REDIS": "redis-secret"})

    rows = ran.rows()
    assert rows["cache"]["status"] == "healthy"
    assert rows["db"]["status"] == "unknown"
    assert "targets.db.password is the reference env:C_DB" in rows["db"]["wrong"]
    assert "the environment variable C_DB to be set" in rows["db"]["next"]
    assert json.loads(ran.out)["missing_secrets"] == ["targets.db.password"]
    assert ran.status == CheckExit.CONFIGURATION


async def test_targets_are_looked_at_all_at_once(tmp_path: Path) -> None:
    """None gets an answer before all have asked: one after the other, the first would end at its deadline."""
    guests = 40
    async with meeting_point(guests) as port:
        waiting = {f"t{number}": {"kind": "redis", "host": "127.0.0.1", "port": port} for number in range(guests)}
        ran = await check(configuration(tmp_path, waiting, timeout="20s"), "--json")

    assert {row["error_class"] for row in ran.rows().values()} == {"refused"}


async def test_a_target_that_says_nothing_ends_at_its_deadline(tmp_path: Path) -> None:
    """In a named phase."""
    async with meeting_point(2) as port:
        ran = await check(
            configuration(tmp_path, {"mute": {"kind": "redis", "host": "127.0.0.1", "port": port}}), "--json"
        )

    mute = ran.rows()["mute"]
    assert (mute["status"], mute["error_class"], mute["phase"]) == ("unhealthy", "timeout", "role")
    assert mute["wrong"] == "no answer in phase role within 1 s"
    assert "targets.mute.timeout" in mute["next"]


async def test_outside_a_terminal_there_is_one_line_for_each_target(tmp_path: Path) -> None:
    """Tabs, no colours, no wrapping; the last line sums up."""
    file = configuration(
        tmp_path,
        {
            "gone": {"kind": "tcp", "host": "127.0.0.1", "port": 1, "scope": "external"},
            "room": {"kind": "disk", "path": "/", "limit": 100},
        },
    )

    ran = await check(file)

    gone, room, last = ran.out.splitlines()
    assert re.fullmatch(
        r"gone\ttcp, external\tunhealthy\t\d+ ms\tconnect: connection refused[^\t]*\tstart it[^\t]*targets\.gone", gone
    )
    assert re.fullmatch(r"room\tdisk\thealthy\t\d+ ms\t\t", room)
    assert last == "1 healthy, 1 unhealthy: begin with what is unhealthy"
    assert "\x1b" not in ran.out


async def test_targets_of_an_agent_are_looked_at_on_its_host_only(tmp_path: Path) -> None:
    """Elsewhere they are unknown, with the line to run; unknown is not healthy."""
    file = configuration(
        tmp_path,
        {
            "room": {"kind": "disk", "path": "/", "limit": 100, "agent": "web-1"},
            "all": {"kind": "disk", "path": "/", "limit": 100},
        },
        agents={"web-1": {"guards": "host"}},
    )

    elsewhere, there, nowhere = await asyncio.gather(
        check(file, "--json"), check(file, "--json", "--agent", "web-1"), check(file, "--agent", "web-2")
    )

    assert elsewhere.rows()["room"]["next"] == "run there: yaoki check --agent web-1"
    assert (elsewhere.rows()["room"]["status"], elsewhere.rows()["all"]["status"]) == ("unknown", "healthy")
    assert elsewhere.status == CheckExit.UNKNOWN
    assert {name: row["status"] for name, row in there.rows().items()} == {"room": "healthy"}
    assert there.status == CheckExit.WELL
    assert "agent 'web-2' is not configured; `agents` has: web-1" in nowhere.err
    assert nowhere.status == CheckExit.CONFIGURATION


async def test_a_wrong_configuration_is_said_and_nothing_is_probed(tmp_path: Path) -> None:
    """All mistakes at once, on stderr."""
    file = configuration(tmp_path, {"a": {"kind": "tcp", "host": "h", "port": 0}, "b": {"kind": "tpc"}})

    ran = await check(file)

    assert ran.status == CheckExit.CONFIGURATION
    assert "targets.a.port" in ran.err
    assert "targets.b.kind" in ran.err
    assert ran.err.endswith("Nothing was probed.\n")
    assert ran.out == ""


async def test_a_configuration_is_validated_without_its_secrets_where_there_are_none(tmp_path: Path) -> None:
    """As in CI; with them is the default."""
    file = configuration(tmp_path, {"cache": {"kind": "redis", "host": "h", "password": "env:C_REDIS"}})

    without, plain, complete = await asyncio.gather(
        yaoki("validate", "--no-secrets", str(file), environ={}),
        yaoki("validate", str(file), environ={}),
        yaoki("validate", str(file), environ=SECRETS),
    )

    assert (without.status, plain.status, complete.status) == (0, 2, 0)
    assert "its secrets were not looked for" in without.out
    assert "targets.cache.password: found the reference env:C_REDIS" in plain.err


@pytest.mark.parametrize(
    ("statuses", "missing", "expected"),
    [
        ([], (), CheckExit.WELL),
        (["healthy", "degraded"], (), CheckExit.WELL),
        (["healthy", "unknown"], (), CheckExit.UNKNOWN),
        (["healthy", "unknown", "unhealthy"], (), CheckExit.UNHEALTHY),
        (["unknown", "unhealthy"], ("targets.a.password",), CheckExit.CONFIGURATION),
    ],
)
def test_the_worst_target_decides_how_it_ends(
    statuses: list[str], missing: tuple[str, ...], expected: CheckExit
) -> None:
    """Degraded works; unknown is not healthy."""
    targets = tuple(
        CheckedTarget(target=f"t{index}", kind="tcp", scope="internal", status=ProbeStatus(status))
        for index, status in enumerate(statuses)
    )
    checkup = Checkup(targets=targets, missing_secrets=missing)

    assert checkup.exit_status() is expected
    assert all(f"1 {status}" in summary(checkup) for status in statuses)
