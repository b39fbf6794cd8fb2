"""Several HTTP/1.1 requests after each other on one connection, the answers bounded and never decompressed."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import h11
import msgspec
from yaoki.events.probe import ErrorClass

from health_probe.adapters.network import MAX_ANSWER_BYTES
from health_probe.attempt import ProbeFailedError

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Mapping

    from health_probe.adapters.network import Network, Stream
    from health_probe.attempt import Phases

_PORTS: Final = {"http": 80, "https": 443}
_USER_AGENT: Final = "yaoki-health-probe"
_WITH_BODY: Final = frozenset({"PATCH", "POST", "PUT"})


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back; names of headers in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class HttpSession:
    """See `open_session`."""

    def __init__(self, stream: Stream, authority: str) -> None:
        self._stream = stream
        self._authority = authority
        self._connection = h11.Connection(our_role=h11.CLIENT)

    async def send(
        self,
        phases: Phases,
        phase: str | None,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str],
        body: bytes = b"",
    ) -> Answer:
        """Send one request and read its whole answer. A redirect is an answer like any other.

        Args:
            phases: Of the attempt.
            phase: In which all of it happens; None for three phases, `request`, `response` and `body`.
            method: In capitals.
            target: Path and query.
            headers: Beside those of every request, or in their place.
            body: Of the request.

        Raises:
            ProbeFailedError: Class `protocol`, for what is not HTTP/1 or too large, or when the server wants a new
                connection for each request.
            h11.LocalProtocolError: There can be no such request.
        """
        try:
            async with phases.phase(phase or "request"):
                await self._stream.write(self._request(method, target, headers, body))
            async with phases.phase(phase or "response"):
                response = await self._response()
            async with phases.phase(phase or "body"):
                content = await self._body()
        except h11.RemoteProtocolError as exc:
            sentence = f"the answer is not valid HTTP/1.1: {exc}"
            raise ProbeFailedError(ErrorClass.PROTOCOL, sentence) from exc
        received = {name.decode(): value.decode(errors="replace") for name, value in response.headers}
        return Answer(status=response.status_code, headers=received, body=content)

    def _request(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> bytes:
        connection = self._connection
        if connection.our_state is h11.MUST_CLOSE or connection.their_state is h11.MUST_CLOSE:
            raise ProbeFailedError(ErrorClass.PROTOCOL, "the server closes the connection after a single answer")
        if connection.our_state is not h11.IDLE:
            connection.start_next_cycle()
        own = {"Host": self._authority, "User-Agent": _USER_AGENT, "Accept-Encoding": "identity"}
        if body or method in _WITH_BODY:
            own["Content-Length"] = str(len(body))
        head = connection.send(h11.Request(method=method, target=target, headers=[*(own | dict(headers)).items()]))
        data = connection.send(h11.Data(data=body)) if body else b""
        return (head or b"") + (data or b"") + (connection.send(h11.EndOfMessage()) or b"")

    async def _response(self) -> h11.Response:
        event = await self._next_event()
        while isinstance(event, h11.InformationalResponse):
            event = await self._next_event()
        if not isinstance(event, h11.Response):
            raise h11.RemoteProtocolError("no response came")
        return event

    async def _body(self) -> bytes:
        body = bytearray()
        while isinstance(part := await self._next_event(), h11.Data):
            body += part.data
        return bytes(body)

    async def _next_event(self) -> object:
        while (event := self._connection.next_event()) is h11.NEED_DATA:
            data = await self._stream.read()
            if not data and self._connection.their_state is h11.SEND_RESPONSE:
                raise EOFError
            self._connection.receive_data(data)
        return event


@asynccontextmanager
async def open_session(
    network: Network, phases: Phases, url: str, *, tls: ssl.SSLContext | None = None, limit: int = MAX_ANSWER_BYTES
) -> AsyncIterator[HttpSession]:
    """A fresh connection to the server of `url`, gone when the block ends.

    Args:
        network: Connects.
        phases: Of the attempt.
        url: Only scheme, host and port count.
        tls: Needed for https.
        limit: Bytes that all answers together may have.
    """
    place = urlsplit(url)
    port = place.port or _PORTS[place.scheme]
    async with network.open_stream(phases, place.hostname or "", port, tls=tls, limit=limit) as stream:
        yield HttpSession(stream, place.netloc.rpartition("@")[2])
