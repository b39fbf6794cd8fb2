"""The whole stack: starts, runs beside another, survives its starter or dies with it, as asked."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from yaoki_devstack.detached import down, load, up
from yaoki_devstack.errors import DevStackError, StackStateError
from yaoki_devstack.proctree import working_under
from yaoki_devstack.server import remove_temporary, temporary_directory
from yaoki_devstack.stack import BucketSpec, DevStack, StackSpec
from yaoki_devstack.waiting import until

pytestmark = pytest.mark.real

CRASHING = """
import asyncio, sys
from yaoki_devstack.stack import DevStack

async def main():
    async with DevStack() as stack:
        print(stack.directory, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""
STARTER = """
import asyncio, pathlib, sys
from yaoki_devstack.detached import up
asyncio.run(up(pathlib.Path(sys.argv[1])))
"""


def outside_files(directory: Path) -> list[Path]:
    return [Path(line) for file in directory.rglob("leftovers") for line in file.read_text().splitlines()]


def recorded_pids(directory: Path) -> dict[str, int]:
    state = json.loads((directory / "state.json").read_text())
    return {name: server["pid"] for name, server in state["servers"].items()}


def is_gone(directory: Path) -> bool:
    return not working_under(directory) and not directory.exists()


def damage(directory: Path) -> None:
    (directory / "state.json").write_text("{")


async def test_two_stacks_run_side_by_side() -> None:
    spec = StackSpec(nats=3, s3=False)
    async with DevStack(spec) as one, DevStack(spec) as other:
        assert all(server.running for server in one.servers + other.servers)
        ports = {server.port for server in one.servers + other.servers}
        assert len(ports) == len(one.servers) + len(other.servers)
        await one.postgres.primary.psql("CREATE TABLE only_in_one (i int)")
        found = "SELECT count(*) FROM pg_class WHERE relname = 'only_in_one'"
        assert await other.postgres.primary.psql(found) == "0"
        with pytest.raises(DevStackError, match="no 's3'"):
            _ = one.s3
        directories = [one.directory, other.directory]
    assert not any(directory.exists() for directory in directories)


async def test_databases_can_be_left_to_an_agent() -> None:
    spec = StackSpec(start_postgres=False, start_redis=False, buckets=(BucketSpec(name="backups", object_lock=True),))
    async with DevStack(spec) as stack:
        assert not any(node.running for node in (*stack.postgres.nodes, *stack.redis_nodes))
        assert (stack.postgres.standbys[0].data_dir / "standby.signal").exists()
        await stack.redis_master.start()
        assert await stack.redis_master.cli("PING") == "PONG"
        client = stack.s3.client()
        found = await asyncio.to_thread(client.get_bucket_versioning, Bucket="backups")
        assert found["Status"] == "Enabled"
        client.close()


@pytest.mark.parametrize("paused", [False, True])
async def test_a_killed_caller_leaves_nothing_behind(paused: bool) -> None:  # noqa: FBT001 - a pytest parameter
    caller = subprocess.Popen([sys.executable, "-c", CRASHING], stdout=subprocess.PIPE)  # noqa: ASYNC220, S603 - ours
    assert caller.stdout is not None
    with caller.stdout as output:
        directory = Path((await asyncio.to_thread(output.readline)).decode().strip())
    running = working_under(directory)
    assert {process.name() for process in running} >= {"nats-server", "postgres", "redis-server", "weed"}
    sockets = outside_files(directory)
    assert any(socket.exists() for socket in sockets)
    for process in running if paused else []:
        process.suspend()
    caller.send_signal(signal.SIGKILL)
    caller.wait()

    async def nothing_left() -> bool:
        return is_gone(directory)

    assert await until(nothing_left, within=30)
    assert not any(socket.exists() for socket in sockets)


async def test_a_detached_stack_survives_its_starter_until_down() -> None:
    parent = temporary_directory("people")
    directory = parent / ".yaoki" / "stack"
    try:
        command = [sys.executable, "-c", STARTER, str(directory)]
        await asyncio.to_thread(subprocess.run, command, check=True)
        stack = load(directory)
        assert recorded_pids(directory) == {server.name: server.pid for server in stack.servers}
        assert await stack.redis_master.cli("PING") == "PONG"
        await stack.postgres.primary.kill()
        await stack.postgres.primary.start()
        await stack.postgres.wait_streaming()
        with pytest.raises(StackStateError, match="holds a stack already"):
            await up(directory)
        postgres = stack.postgres.directory
        await down(directory)
        assert not working_under(directory)
        assert not working_under(postgres)
        assert not directory.exists()
        assert not postgres.exists()
        await down(directory)
        with pytest.raises(StackStateError, match="no stack"):
            load(directory)
    finally:
        await down(directory)
        remove_temporary(parent)


async def test_down_works_without_a_readable_state() -> None:
    parent = temporary_directory("people")
    directory = parent / "stack"
    try:
        await up(directory, StackSpec(postgres=False, s3=False))
        damage(directory)
        with pytest.raises(StackStateError, match="cannot be read"):
            load(directory)
        await down(directory)
        assert not working_under(directory)
    finally:
        await down(directory)
        remove_temporary(parent)
