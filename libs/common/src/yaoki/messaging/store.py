"""One acknowledged write to JetStream, with its failures sorted by what the writer may conclude."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import nats.errors

from yaoki.errors import ErrorCode, RejectedError, TransientError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nats.aio.client import Client

EXPECTED_STREAM = "Nats-Expected-Stream"
EXPECTED_LAST_SUBJECT_SEQUENCE = "Nats-Expected-Last-Subject-Sequence"
EXPECTED_LAST_SUBJECT_FILTER = "Nats-Expected-Last-Subject-Sequence-Subject"

WRONG_LAST_SEQUENCE = frozenset({10071, 10164})
"""JetStream's codes for a compare-and-set that lost."""

_SERVER_SIDE = 500
_PROTOCOL_BYTES = 64


class Ack(msgspec.Struct, frozen=True):
    """JetStream's acknowledgement."""

    stream: str = ""
    seq: int = 0
    duplicate: bool = False


class _ApiError(msgspec.Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _Reply(msgspec.Struct):
    stream: str = ""
    seq: int = 0
    duplicate: bool = False
    error: _ApiError | None = None


_REPLY = msgspec.json.Decoder(_Reply)


class AmbiguousWriteError(TransientError):
    """No acknowledgement in time. The write may be stored already, or later: nats-py buffers it."""

    default_code = ErrorCode.TIMEOUT


class RefusedWriteError(RejectedError):
    """JetStream refused the write; nothing was stored.

    Attributes:
        err_code: JetStream's own code, e.g. 10071.
    """

    def __init__(self, message: str, err_code: int) -> None:
        super().__init__(message)
        self.err_code = err_code


def wire_size(body: bytes, headers: Mapping[str, str]) -> int:
    """Bytes that count against the server's `max_payload`: nats-py looks at the body alone.

    A message above it makes the *server* close the connection.
    """
    return len(body) + sum(len(key) + len(value) + 4 for key, value in headers.items()) + _PROTOCOL_BYTES


async def store(
    client: Client, subject: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float = 5.0
) -> Ack:
    """Write once and wait for the acknowledgement.

    Raises:
        AmbiguousWriteError: No answer; repeat with the same `Nats-Msg-Id` to find out.
        TransientError: Not stored: no stream answers (an election, or none covers it), or NATS is away.
        RefusedWriteError: Not stored, and a repeat will not be either.
        RejectedError: Larger than the server takes.
    """
    size = wire_size(body, headers)
    if client.is_connected and size > client.max_payload:
        raise RejectedError(
            f"message for {subject} has {size} bytes with headers, the server takes {client.max_payload}; "
            "make it smaller"
        )
    try:
        message = await client.request(subject, body, timeout=timeout_s, headers=dict(headers))
    except nats.errors.NoRespondersError as error:
        raise TransientError(
            f"no stream takes {subject}: JetStream has no leader now, or `yaoki provision` has not been run"
        ) from error
    except (TimeoutError, nats.errors.TimeoutError) as error:
        raise AmbiguousWriteError(
            f"NATS did not acknowledge {subject} within {timeout_s} s; it may still be stored"
        ) from error
    except nats.errors.MaxPayloadError as error:
        raise RejectedError(f"message for {subject} has {size} bytes, more than the server takes") from error
    except (nats.errors.Error, OSError) as error:
        raise TransientError(f"NATS is away: {str(error) or type(error).__name__}") from error
    reply = _REPLY.decode(message.data)
    if reply.error is not None:
        raise _refusal(subject, reply.error)
    return Ack(stream=reply.stream, seq=reply.seq, duplicate=reply.duplicate)


def _refusal(subject: str, error: _ApiError) -> Exception:
    sentence = f"JetStream refused {subject}: {error.description} (err_code {error.err_code})"
    if error.code >= _SERVER_SIDE:
        return TransientError(sentence)
    return RefusedWriteError(sentence, error.err_code)
