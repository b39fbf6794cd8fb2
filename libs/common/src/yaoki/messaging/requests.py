"""Asking other services."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import msgspec
import nats.errors
from nats.micro.request import ERROR_CODE_HEADER, ERROR_HEADER

from yaoki.errors import (
    ConflictError,
    ErrorCode,
    RejectedError,
    StaleEpochError,
    TransientError,
    YaokiError,
)
from yaoki.messaging import tracing
from yaoki.messaging.envelope import TRACEPARENT
from yaoki.messaging.serve import YAOKI_ERROR_CODE
from yaoki.messaging.store import wire_size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nats.aio.client import Client
    from nats.aio.msg import Msg

    from yaoki.commands.base import Request
    from yaoki.subjects import Subjects

_TRANSIENT = frozenset({ErrorCode.UNAVAILABLE, ErrorCode.TIMEOUT, ErrorCode.INTERNAL})


async def ask(client: Client, subjects: Subjects, request: Request, *, service: str | None, timeout_s: float) -> Any:
    """Send a request and return its reply struct.

    Raises:
        TransientError: TIMEOUT: no answer in time, the request may still be carried out. UNAVAILABLE: nobody
            listens, or the service cannot now. INTERNAL: it failed in a way that it does not explain.
        RejectedError: The service's own code and sentence.
    """
    name = service or type(request).service
    subject = subjects.api(name, type(request).verb)
    body, headers = request_parts(client, subject, request)
    try:
        message = await client.request(subject, body, timeout=timeout_s, headers=headers)
    except nats.errors.NoRespondersError as error:
        raise TransientError(f"nobody answers {subject}: is {name} running?") from error
    except (TimeoutError, nats.errors.TimeoutError) as error:
        raise TransientError(
            f"{name} did not answer {subject} within {timeout_s} s; it may still act", code=ErrorCode.TIMEOUT
        ) from error
    except (nats.errors.Error, OSError) as error:
        raise TransientError(f"NATS is away: {str(error) or type(error).__name__}") from error
    return reply_of(message, request, name)


def request_parts(client: Client, subject: str, request: Request) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a request; refuses one that NATS would not take."""
    body = msgspec.json.encode(request)
    headers = {"content-type": "application/json"}
    traceparent = tracing.traceparent()
    if traceparent:
        headers[TRACEPARENT] = traceparent
    if wire_size(body, headers) > client.max_payload:
        raise RejectedError(f"request to {subject} has {len(body)} bytes, NATS takes {client.max_payload}")
    return body, headers


def reply_of(message: Msg, request: Request, name: str) -> Any:
    """The reply struct in an answer; an answer that is an error is raised."""
    headers = message.headers or {}
    if ERROR_CODE_HEADER in headers or ERROR_HEADER in headers:
        raise _remote_error(name, headers, message.data)
    try:
        return msgspec.json.decode(message.data, type=type(request).reply)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise TransientError(
            f"{name} answered {message.subject} with something that is no {type(request).reply.__name__}; "
            "do both run the same release?",
            code=ErrorCode.INTERNAL,
        ) from error


class _ErrorBody(msgspec.Struct):
    error: str = ""
    code: str = ""


def _remote_error(service: str, headers: Mapping[str, str], body: bytes) -> YaokiError:
    """The remote's error as one of ours."""
    sentence = unquote(headers.get(ERROR_HEADER, ""))
    with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
        sentence = msgspec.json.decode(body, type=_ErrorBody).error or sentence
    try:
        code = ErrorCode(headers.get(YAOKI_ERROR_CODE, ""))
    except ValueError:
        code = ErrorCode.INTERNAL
    message = f"{service}: {sentence}"
    if code is ErrorCode.CONFLICT:
        return ConflictError(message)
    if code is ErrorCode.STALE_EPOCH:
        return StaleEpochError(message)
    if code in _TRANSIENT:
        return TransientError(message, code=code)
    return RejectedError(message, code=code)
