"""Each handle does to the server what it says, seen from a client's side."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from yaoki_devstack.errors import ServerNotRunningError, ServerStartError
from yaoki_devstack.nats import NatsCluster, NatsServer
from yaoki_devstack.waiting import patient, until
from yaoki_devstack.wire import exchange

if TYPE_CHECKING:
    from yaoki_devstack.redis import RedisServer

pytestmark = pytest.mark.real


async def connect_refused(server: NatsServer | RedisServer) -> bool:
    try:
        _, writer = await asyncio.open_connection(server.host, server.port)
    except ConnectionRefusedError:
        return True
    writer.close()
    return False


async def test_a_started_server_answers_and_has_a_pid(nats_server: NatsServer) -> None:
    assert (await exchange(nats_server.host, nats_server.port, b"", until=b"\r\n")).startswith(b"INFO ")
    assert nats_server.pid > 0
    assert "Server is ready" in nats_server.log_text()


async def test_jetstream_acknowledges_only_what_is_synced(nats_server: NatsServer) -> None:
    pages = await nats_server.monitor("/jsz")
    assert pages is not None
    assert pages["config"]["sync_always"] is True


async def test_kill_refuses_connections_and_start_brings_the_data_back(redis_server: RedisServer) -> None:
    await redis_server.cli("CONFIG", "SET", "appendfsync", "always")
    await redis_server.cli("SET", "kept", "yes")
    port, pid = redis_server.port, redis_server.pid
    await redis_server.kill()
    assert not redis_server.running
    assert await connect_refused(redis_server)
    with pytest.raises(ServerNotRunningError, match="start\\(\\) it first"):
        _ = redis_server.pid
    await redis_server.start()
    assert (redis_server.port, await redis_server.cli("GET", "kept")) == (port, "yes")
    assert redis_server.pid != pid


async def test_pause_keeps_connections_open_and_silent_until_resume(nats_server: NatsServer) -> None:
    reader, writer = await asyncio.open_connection(nats_server.host, nats_server.port)
    await reader.readline()
    await nats_server.pause()
    assert nats_server.running
    writer.write(b"CONNECT {}\r\nPING\r\n")
    # Not just any line: a PING of the server's own may have arrived before the pause.
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.readuntil(b"PONG\r\n"), 0.3)
    await nats_server.resume()
    assert b"PONG" in await asyncio.wait_for(reader.readuntil(b"PONG\r\n"), patient(5))
    writer.close()


async def test_stop_ends_a_paused_server(redis_server: RedisServer) -> None:
    await redis_server.pause()
    await redis_server.stop()
    assert not redis_server.running


async def test_launching_twice_is_refused(redis_server: RedisServer) -> None:
    with pytest.raises(ServerStartError, match="is running already"):
        redis_server.launch()


async def test_a_server_that_cannot_start_shows_its_log() -> None:
    with pytest.raises(ServerStartError, match="unknown field"):
        async with NatsServer(extra_config="no_such_option: 1\n"):
            pytest.fail("a server with an unknown option must not start")


async def test_a_second_object_over_the_same_directory_controls_the_same_server(
    nats_server: NatsServer,
) -> None:
    other = NatsServer(directory=nats_server.directory)
    assert (other.port, other.pid, other.monitor_url) == (
        nats_server.port,
        nats_server.pid,
        nats_server.monitor_url,
    )
    await other.kill()
    assert not nats_server.running


async def test_a_cluster_elects_another_leader(nats_cluster: NatsCluster) -> None:
    first = await nats_cluster.meta_leader()
    assert first is not None
    await first.kill()

    async def another() -> bool:
        leader = await nats_cluster.meta_leader()
        return leader is not None and leader is not first

    assert await until(another, within=20)


async def test_a_replica_has_the_masters_data(redis_pair: tuple[RedisServer, RedisServer]) -> None:
    master, replica = redis_pair
    await master.cli("SET", "key", "value")

    async def copied() -> bool:
        return await replica.cli("GET", "key") == "value"

    assert await until(copied, within=5)
    assert (await replica.replication())["role"] == "slave"
