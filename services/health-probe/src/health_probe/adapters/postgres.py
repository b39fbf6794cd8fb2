"""A PostgreSQL session of one probe: its own connection, bounded in time and in bytes."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final, cast

import asyncpg
import msgspec
from typing_extensions import override
from yaoki.events.probe import ErrorClass

from health_probe.adapters.network import MAX_ANSWER_BYTES, answer_too_large
from health_probe.attempt import ProbeFailedError, presentable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from yaoki.flags import Endpoint

    from health_probe.adapters.network import Network
    from health_probe.attempt import Phases

    Session = asyncpg.Connection[asyncpg.Record]
    Row = asyncpg.Record

UndefinedTableError = asyncpg.UndefinedTableError
NOT_PERMITTED: Final = (asyncpg.InsufficientPrivilegeError, asyncpg.InvalidSchemaNameError)

APPLICATION_NAME: Final = "yaoki-probe"

_METER_INTERVAL_S: Final = 0.02
_BYTES_RECEIVED_OFFSET: Final = 128
"""Where Linux's `struct tcp_info` keeps tcpi_bytes_received (u64); include/uapi/linux/tcp.h."""

_SQLSTATE_CLASSES: Final = {
    "28": ErrorClass.AUTH,
    "42501": ErrorClass.AUTH,
    "53": ErrorClass.CAPACITY,
    "57P": ErrorClass.REFUSED,
    "57014": ErrorClass.TIMEOUT,
    "08": ErrorClass.REFUSED,
}
"""Prefix of the SQLSTATE -> class; the longest prefix decides, everything else is `protocol`."""


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """How a probe signs in; `repr` leaves the password out."""

    user: str
    password: str
    database: str

    @override
    def __repr__(self) -> str:
        return f"Login(user={self.user!r}, database={self.database!r})"


@asynccontextmanager
async def open_session(network: Network, phases: Phases, endpoint: Endpoint, login: Login) -> AsyncIterator[Session]:
    """A session at `endpoint`, gone when the block ends. Statements stop in the server at the deadline too.

    Raises:
        ProbeFailedError: For whatever the server answers that is not an answer; never with the password.
    """
    sock = await network.dial(phases, endpoint.host, endpoint.port)
    try:
        with _translated(login), _metered(sock):
            async with phases.phase("login"):
                connection = await _sign_in(sock, phases, endpoint, login)
            try:
                yield connection
            finally:
                connection.terminate()
    finally:
        sock.close()


async def _sign_in(sock: socket.socket, phases: Phases, endpoint: Endpoint, login: Login) -> Session:
    return await asyncpg.connect(
        loop=cast("asyncio.AbstractEventLoop", _DialledLoop(asyncio.get_running_loop(), sock)),
        host=endpoint.host,
        port=endpoint.port,
        user=login.user,
        password=login.password,
        database=login.database,
        ssl=False,
        timeout=phases.deadline.total_s,
        statement_cache_size=0,
        server_settings={
            "application_name": APPLICATION_NAME,
            "statement_timeout": str(int(phases.deadline.total_s * 1000)),
        },
    )


class _DialledLoop:
    """The event loop as asyncpg sees it: its connection is the socket that was dialled already.

    That keeps DNS and connect apart from the login, and the socket in our hands. asyncpg's out-of-band cancel
    requests would open a second connection that nothing bounds when the server hangs; they are refused, and
    `statement_timeout` stops the statement in the server instead.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        self._loop = loop
        self._socket: socket.socket | None = sock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    async def create_connection(self, factory: Any, *_address: Any) -> Any:
        if self._socket is None:
            raise ConnectionResetError("a probe has one connection only")
        sock, self._socket = self._socket, None
        return await self._loop.create_connection(factory, sock=sock)


@contextmanager
def _metered(sock: socket.socket) -> Iterator[None]:
    """Cut the connection when the server has sent more than a probe reads: asyncpg buffers without limit."""
    loop = asyncio.get_running_loop()
    exceeded = False
    timer: asyncio.TimerHandle | None = None

    def look() -> None:
        nonlocal exceeded, timer
        if sock.fileno() < 0:
            return
        exceeded = _bytes_received(sock) > MAX_ANSWER_BYTES
        if exceeded:
            sock.shutdown(socket.SHUT_RDWR)
        else:
            timer = loop.call_later(_METER_INTERVAL_S, look)

    look()
    try:
        yield
    except Exception as exc:
        if exceeded:
            raise answer_too_large(MAX_ANSWER_BYTES) from exc
        raise
    finally:
        if timer is not None:
            timer.cancel()


def _bytes_received(sock: socket.socket) -> int:
    end = _BYTES_RECEIVED_OFFSET + 8
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, end)
    return int(struct.unpack_from("=Q", info, _BYTES_RECEIVED_OFFSET)[0]) if len(info) >= end else 0


@contextmanager
def _translated(login: Login) -> Iterator[None]:
    try:
        yield
    except asyncpg.PostgresError as exc:
        raise _failure(exc, login) from exc
    except (
        asyncpg.InternalClientError,
        asyncpg.InterfaceError,
        LookupError,
        ValueError,
        struct.error,
    ) as exc:
        # What asyncpg's parser raises over bytes that are not PostgreSQL's protocol.
        sentence = f"the target does not speak PostgreSQL's protocol ({type(exc).__name__})"
        raise ProbeFailedError(ErrorClass.PROTOCOL, sentence) from exc


def _failure(exc: asyncpg.PostgresError, login: Login) -> ProbeFailedError:
    state = str(getattr(exc, "sqlstate", None) or "")
    known = [prefix for prefix in _SQLSTATE_CLASSES if state.startswith(prefix)]
    error_class = _SQLSTATE_CLASSES[max(known, key=len)] if known else ErrorClass.PROTOCOL
    words = presentable(str(getattr(exc, "message", None) or exc), login.password)
    return ProbeFailedError(error_class, f"PostgreSQL answered {state or 'an error'}: {words}")
