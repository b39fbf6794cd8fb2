"""The NATS client protocol, as much as a probe needs: one connection, one inbox, answers bounded.

Not nats-py: it reconnects, buffers whatever length a server announces, and knows no phases.
"""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import msgspec
from typing_extensions import override
from yaoki.events.probe import ErrorClass

from health_probe.attempt import ProbeFailedError, presentable

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

    from health_probe.adapters.network import Network, Stream
    from health_probe.attempt import Phases

_MAX_LINE: Final = 1 << 16
_NO_RESPONDERS: Final = b"503"
_NAME: Final = "yaoki-probe"

_ERRORS: Final = (
    ("authorization", ErrorClass.AUTH),
    ("authentication", ErrorClass.AUTH),
    ("permissions", ErrorClass.AUTH),
    ("maximum", ErrorClass.CAPACITY),
    ("secure connection", ErrorClass.TLS),
)
"""Words of an error -> class; everything else is `protocol`."""


class NatsLogin(msgspec.Struct, frozen=True, kw_only=True):
    """How a probe signs in; all None for an open server. `repr` shows nothing."""

    user: str | None = None
    password: str | None = None
    token: str | None = None

    @override
    def __repr__(self) -> str:
        return "NatsLogin(...)"

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be shown."""
        return tuple(filter(None, (self.password, self.token)))


class ServerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a server says of itself when it is connected to.

    Attributes:
        ldm: It is about to stop and sends its clients away.
        jetstream: Whether it keeps streams.
    """

    server_name: str = ""
    version: str = ""
    max_payload: int = 0
    tls_required: bool = False
    jetstream: bool = False
    ldm: bool = False


class NatsConversation:
    """A signed-in connection; see `converse`.

    Attributes:
        info: Of the server.
    """

    def __init__(self, stream: Stream, login: NatsLogin) -> None:
        self._stream = stream
        self._login = login
        self._buffer = b""
        self._inbox = f"_INBOX.{secrets.token_hex(11)}"
        self.info = ServerInfo()

    async def sign_in(self, phases: Phases, *, host: str, tls: ssl.SSLContext | None) -> None:
        """Greet, encrypt where `tls` is given, sign in and subscribe to the inbox."""
        async with phases.phase("greeting"):
            verb, rest = await self._line()
            if verb != b"INFO":
                raise _not_nats()
            self.info = _decoded(rest, ServerInfo)
        if tls is not None:
            async with phases.phase("tls"):
                await self._stream.start_tls(tls, host)
        async with phases.phase("login"):
            await self._stream.write(self._connect() + b"SUB %s 1\r\nPING\r\n" % self._inbox.encode())
            await self._pong()

    async def request(self, subject: str, payload: bytes) -> bytes:
        """Send a message to `subject` and return the first answer's body.

        Raises:
            ProbeFailedError: Class `refused`: nobody is there to answer.
        """
        head = f"PUB {subject} {self._inbox} {len(payload)}\r\n"
        await self._stream.write(head.encode() + payload + b"\r\n")
        return await self._message(subject)

    async def echo(self, payload: bytes) -> bytes:
        """Send a message to ourselves through the server and return what comes back."""
        await self._stream.write(f"PUB {self._inbox} {len(payload)}\r\n".encode() + payload + b"\r\n")
        return await self._message(self._inbox)

    def _connect(self) -> bytes:
        options: dict[str, object] = {
            "verbose": False,
            "pedantic": False,
            "headers": True,
            "no_responders": True,
            "lang": "python",
            "version": "1",
            "protocol": 0,
            "name": _NAME,
        }
        given = {"user": self._login.user, "pass": self._login.password, "auth_token": self._login.token}
        options |= {key: value for key, value in given.items() if value is not None}
        return b"CONNECT %s\r\n" % msgspec.json.encode(options)

    async def _pong(self) -> None:
        while (await self._line())[0] != b"PONG":
            pass

    async def _message(self, subject: str) -> bytes:
        while True:
            verb, rest = await self._line()
            if verb not in (b"MSG", b"HMSG"):
                continue
            *_, head, size = (b"0", *rest.split())
            body = await self._exactly(_number(size))
            if verb == b"MSG":
                return body
            length = _number(head)
            if _NO_RESPONDERS in body[:length].split(b"\r\n")[0].split():
                raise ProbeFailedError(ErrorClass.REFUSED, f"nobody answers at {subject}")
            return body[length:]

    async def _line(self) -> tuple[bytes, bytes]:
        """The next protocol line as verb and rest; errors are raised and pings answered here."""
        while True:
            while b"\r\n" not in self._buffer:
                if len(self._buffer) > _MAX_LINE:
                    raise _not_nats()
                await self._fill()
            line, self._buffer = self._buffer.split(b"\r\n", 1)
            verb, _, rest = line.partition(b" ")
            match verb.upper():
                case b"-ERR":
                    raise self._refused(rest)
                case b"PING":
                    await self._stream.write(b"PONG\r\n")
                case b"INFO" | b"PONG" | b"MSG" | b"HMSG" | b"+OK" as known:
                    return known, rest
                case _:
                    raise _not_nats()

    async def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size + 2:
            await self._fill()
        body, self._buffer = self._buffer[:size], self._buffer[size + 2 :]
        return body

    async def _fill(self) -> None:
        data = await self._stream.read()
        if not data:
            raise EOFError
        self._buffer += data

    def _refused(self, words: bytes) -> ProbeFailedError:
        text = words.decode(errors="replace").strip(" '")
        error_class = next((kind for word, kind in _ERRORS if word in text.lower()), ErrorClass.PROTOCOL)
        return ProbeFailedError(error_class, f"NATS answered: {presentable(text, *self._login.secrets)}")


@asynccontextmanager
async def converse(
    network: Network, phases: Phases, host: str, port: int, *, login: NatsLogin, tls: ssl.SSLContext | None
) -> AsyncIterator[NatsConversation]:
    """A fresh, signed-in connection, gone when the block ends."""
    async with network.open_stream(phases, host, port) as stream:
        conversation = NatsConversation(stream, login)
        await conversation.sign_in(phases, host=host, tls=tls)
        yield conversation


def _decoded(text: bytes, kind: type[ServerInfo]) -> ServerInfo:
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise _not_nats() from None


def _number(text: bytes) -> int:
    if not text.isdigit():
        raise _not_nats()
    return int(text)


def _not_nats() -> ProbeFailedError:
    return ProbeFailedError(ErrorClass.PROTOCOL, "the target does not speak the NATS protocol")
