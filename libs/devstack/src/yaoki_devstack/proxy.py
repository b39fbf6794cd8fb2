"""A TCP proxy in front of a server, to break the network between it and its clients."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from enum import Flag, auto
from typing import TYPE_CHECKING

from yaoki_devstack import ports

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

_CHUNK = 65_536
_MAXIMUM_IN_FLIGHT = 256
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 seconds: close() sends RST


class Direction(Flag):
    """Which way data flows."""

    TO_SERVER = auto()
    TO_CLIENT = auto()
    BOTH = TO_SERVER | TO_CLIENT


class TcpProxy:
    """Forwards a port of its own to a server, until told otherwise. Lives in the event loop that starts it.

    Args:
        target_port: the server's port.
        target_host: the server's host.
        port: the preferred port of the proxy.
    """

    def __init__(self, target_port: int, *, target_host: str = ports.LOOPBACK, port: int | None = None) -> None:
        self.target = (target_host, target_port)
        self.host = ports.LOOPBACK
        self._lease = ports.lease(port)
        self._listener: asyncio.Server | None = None
        self._links: dict[_Link, asyncio.Task[None]] = {}
        self._weather = _Weather()

    @property
    def port(self) -> int:
        """Where clients connect; stable."""
        return self._lease.number

    @property
    def connections(self) -> int:
        """How many client connections are open."""
        return len(self._links)

    async def start(self) -> None:
        """Accept connections."""
        if self._listener is None:
            self._listener = await asyncio.start_server(self._accept, self.host, self.port)

    async def close(self) -> None:
        """Reset every connection, stop listening and give up the port."""
        await self.cut()
        self._lease.release()

    async def cut(self) -> None:
        """Reset every connection and refuse new ones, as a host does whose server has died."""
        listener, self._listener = self._listener, None
        if listener is not None:
            for each in listener.sockets:
                asyncio.get_running_loop().remove_reader(each.fileno())
            await asyncio.sleep(0)  # a server that is closed forgets, open, a connection that it has just accepted
            listener.close()
        await self.reset_once()

    async def reset_once(self) -> None:
        """Reset every connection that is open now; new ones are accepted."""
        tasks = list(self._links.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def blackhole(self, direction: Direction = Direction.BOTH) -> None:
        """Let nothing through any more and tell nobody, neither data nor the end of a connection.

        New connections are accepted by the kernel and stay silent. As with packets that a network drops and
        TCP sends again, what was held back arrives after `restore()`.
        """
        self._weather.block(direction)

    def delay(self, seconds: float, direction: Direction = Direction.BOTH) -> None:
        """Let everything that is sent from now on arrive `seconds` later, in order."""
        self._weather.delay(seconds, direction)

    async def restore(self) -> None:
        """Forward everything again, without delay; connections that were reset stay reset."""
        self._weather.clear()
        await self.start()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._listener is None:
            _reset(writer)  # accepted just before the cut, which did not know of it yet
            return
        link = _Link(self._weather, reader, writer)
        self._links[link] = asyncio.ensure_future(link.carry(self.target))
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([self._links[link]])
        self._links.pop(link).cancel()
        _reset(writer)  # a link that is cut before its first step does nothing itself

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class _Weather:
    """What the network does at the moment, one gate and one delay for each direction."""

    def __init__(self) -> None:
        self._gates = {Direction.TO_SERVER: asyncio.Event(), Direction.TO_CLIENT: asyncio.Event()}
        self._delays = dict.fromkeys(self._gates, 0.0)
        self.clear()

    def block(self, direction: Direction) -> None:
        for each, gate in self._gates.items():
            if each in direction:
                gate.clear()

    def delay(self, seconds: float, direction: Direction) -> None:
        for each in self._delays:
            if each in direction:
                self._delays[each] = seconds

    def clear(self) -> None:
        for each, gate in self._gates.items():
            gate.set()
            self._delays[each] = 0.0

    def delay_of(self, direction: Direction) -> float:
        return self._delays[direction]

    async def passable(self, direction: Direction) -> None:
        await self._gates[direction].wait()


class _Link:
    """One client connection and its connection to the server."""

    def __init__(self, weather: _Weather, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._weather = weather
        self._reader = reader
        self._writer = writer

    async def carry(self, target: tuple[str, int]) -> None:
        """Forward both ways until both ends are closed; reset both when cancelled or when one is reset."""
        server_writer: asyncio.StreamWriter | None = None
        try:
            await self._weather.passable(Direction.TO_SERVER)
            server_reader, server_writer = await asyncio.open_connection(*target)
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(self._reader, server_writer, Direction.TO_SERVER))
                pumps.create_task(self._pump(server_reader, self._writer, Direction.TO_CLIENT))
        except* OSError:
            # One side went away; the other learns it by the reset below, unless the network is silent.
            await self._weather.passable(Direction.TO_SERVER)
            await self._weather.passable(Direction.TO_CLIENT)
        finally:
            for writer in (self._writer, server_writer):
                if writer is not None:
                    _reset(writer)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Direction) -> None:
        flight: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_MAXIMUM_IN_FLIGHT)
        async with asyncio.TaskGroup() as both:
            both.create_task(self._take_off(reader, flight, direction))
            both.create_task(self._land(writer, flight, direction))

    async def _take_off(
        self, reader: asyncio.StreamReader, flight: asyncio.Queue[tuple[float, bytes]], direction: Direction
    ) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            chunk = await reader.read(_CHUNK)
            await flight.put((clock() + self._weather.delay_of(direction), chunk))
            if not chunk:
                return

    async def _land(
        self, writer: asyncio.StreamWriter, flight: asyncio.Queue[tuple[float, bytes]], direction: Direction
    ) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            due, chunk = await flight.get()
            await asyncio.sleep(max(0.0, due - clock()))
            await self._weather.passable(direction)
            if not chunk:
                if writer.can_write_eof():
                    writer.write_eof()
                return
            writer.write(chunk)
            await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close at once, with RST if the connection is open: an error for the peer, not an orderly end."""
    connection = writer.get_extra_info("socket")
    if connection is not None and not writer.transport.is_closing():
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()
