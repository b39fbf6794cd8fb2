"""The proxy breaks the network in the way each of its verbs says."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from yaoki_devstack.proxy import Direction, TcpProxy
from yaoki_devstack.waiting import patient, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from yaoki_devstack.redis import RedisServer

    Connect = Callable[[], Awaitable["Client"]]

pytestmark = pytest.mark.real
SILENCE = 0.2


class Client:
    """A Redis session through the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.welcome = b""

    async def ask(self, text: str, within: float = 5.0) -> str:
        self.writer.write(f"{text}\r\n".encode())
        return await self.answer(within)

    async def answer(self, within: float = 5.0) -> str:
        async with asyncio.timeout(patient(within)):
            if not self.welcome:
                self.welcome = await self.reader.readline()
            return (await self.reader.readline()).decode().strip()


@pytest_asyncio.fixture
async def connect(proxy: TcpProxy, redis_server: RedisServer) -> AsyncIterator[Connect]:
    clients: list[Client] = []

    async def connect() -> Client:
        client = Client(*await asyncio.open_connection(proxy.host, proxy.port))
        clients.append(client)
        client.writer.write(f"AUTH {redis_server.password}\r\n".encode())
        return client

    yield connect
    for client in clients:
        client.writer.transport.abort()


@pytest_asyncio.fixture
async def proxy(redis_server: RedisServer) -> AsyncIterator[TcpProxy]:
    async with TcpProxy(redis_server.port) as found:
        yield found


async def test_forwards(proxy: TcpProxy, connect: Connect) -> None:
    client = await connect()
    assert await client.ask("PING") == "+PONG"
    assert proxy.connections == 1


async def test_cut_resets_and_refuses_until_restored(proxy: TcpProxy, connect: Connect) -> None:
    client = await connect()
    assert await client.ask("PING") == "+PONG"
    await proxy.cut()
    with pytest.raises(ConnectionResetError):
        await client.answer()
    with pytest.raises(ConnectionRefusedError):
        await connect()
    await proxy.restore()
    assert await (await connect()).ask("PING") == "+PONG"


@pytest.mark.parametrize("turns", range(6))
async def test_a_connection_that_is_being_accepted_is_cut_too(proxy: TcpProxy, turns: int) -> None:
    """However far the proxy has come with it, in turns of its event loop."""
    with socket.create_connection((proxy.host, proxy.port)) as client:
        for _ in range(turns):
            await asyncio.sleep(0)
        await proxy.cut()
        client.setblocking(False)  # noqa: FBT003 - the standard library's signature
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 1), patient(5.0))
    assert proxy.connections == 0


async def test_reset_once_resets_and_accepts(proxy: TcpProxy, connect: Connect) -> None:
    client = await connect()
    assert await client.ask("PING") == "+PONG"
    await proxy.reset_once()
    with pytest.raises(ConnectionResetError):
        await client.answer()
    assert await (await connect()).ask("PING") == "+PONG"


async def test_blackhole_is_silent_and_delivers_after_restore(proxy: TcpProxy, connect: Connect) -> None:
    client = await connect()
    assert await client.ask("PING") == "+PONG"
    proxy.blackhole()
    newcomer = await connect()
    for each in (client, newcomer):
        with pytest.raises(TimeoutError):
            await each.ask("PING", within=SILENCE)
    await proxy.restore()
    assert [await client.answer(), await newcomer.answer()] == ["+PONG", "+PONG"]


async def test_blackhole_hides_the_death_of_the_server(
    proxy: TcpProxy, connect: Connect, redis_server: RedisServer
) -> None:
    client = await connect()
    assert await client.ask("PING") == "+PONG"
    proxy.blackhole()
    await redis_server.kill()
    with pytest.raises(TimeoutError):
        await client.answer(within=SILENCE)


async def test_blackhole_towards_the_client_lets_orders_through(
    proxy: TcpProxy, connect: Connect, redis_server: RedisServer
) -> None:
    client = await connect()
    assert await client.ask("PING") == "+PONG"
    proxy.blackhole(Direction.TO_CLIENT)
    with pytest.raises(TimeoutError):
        await client.ask("SET done yes", within=SILENCE)

    async def done() -> bool:
        return await redis_server.cli("GET", "done") == "yes"

    assert await until(done, within=5)


async def test_delay_applies_to_each_direction(proxy: TcpProxy, connect: Connect) -> None:
    client = await connect()
    assert await client.ask("PING") == "+PONG"
    clock = asyncio.get_running_loop().time
    proxy.delay(0.1)
    before = clock()
    assert await client.ask("PING") == "+PONG"
    assert clock() - before >= 0.2
    proxy.delay(3600)
    proxy.delay(0)
    assert await client.ask("PING") == "+PONG"
