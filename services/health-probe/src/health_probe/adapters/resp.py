"""The Redis protocol (RESP2), as much as a probe needs: commands one after the other, answers bounded.

Not redis-py: its parser buffers whatever length a server announces.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from yaoki.events.probe import ErrorClass

from health_probe.attempt import ProbeFailedError

if TYPE_CHECKING:
    from health_probe.adapters.network import Stream

Reply = str | int | None | list["Reply"]

_MAX_LINE: Final = 4096
_MAX_ELEMENTS: Final = 1024
_MAX_DEPTH: Final = 4


class RedisReplyError(Exception):
    """An error reply (`-CODE sentence`).

    Attributes:
        code: First word, e.g. `NOAUTH`.
    """

    def __init__(self, line: str) -> None:
        super().__init__(line)
        self.code = line.partition(" ")[0]


class RespClient:
    """Sends commands over `stream` and reads one reply for each."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._buffer = b""

    async def command(self, *words: str) -> Reply:
        """Send one command and return its reply.

        Raises:
            RedisReplyError: The server answered with an error.
            ProbeFailedError: Class `protocol`, for bytes that are not RESP or exceed the bounds.
        """
        parts = [word.encode() for word in words]
        body = b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
        await self._stream.write(b"*%d\r\n%s" % (len(parts), body))
        return await self._reply(depth=0)

    async def _reply(self, depth: int) -> Reply:
        line = await self._line()
        kind, rest = line[:1], line[1:]
        match kind:
            case "+":
                return rest
            case "-":
                raise RedisReplyError(rest)
            case ":":
                return _number(rest)
            case "$":
                size = _number(rest)
                return None if size < 0 else await self._bulk(size)
            case "*" if depth < _MAX_DEPTH and _number(rest) <= _MAX_ELEMENTS:
                return [await self._reply(depth + 1) for _ in range(_number(rest))]
            case _:
                raise _not_redis()

    async def _bulk(self, size: int) -> str:
        while len(self._buffer) < size + 2:
            await self._fill()
        data, self._buffer = self._buffer[:size], self._buffer[size + 2 :]
        return data.decode(errors="replace")

    async def _line(self) -> str:
        while b"\r\n" not in self._buffer:
            if len(self._buffer) > _MAX_LINE:
                raise _not_redis()
            await self._fill()
        line, self._buffer = self._buffer.split(b"\r\n", 1)
        return line.decode(errors="replace")

    async def _fill(self) -> None:
        data = await self._stream.read()
        if not data:
            raise EOFError
        self._buffer += data


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise _not_redis() from None


def _not_redis() -> ProbeFailedError:
    return ProbeFailedError(ErrorClass.PROTOCOL, "the target does not speak the Redis protocol")
