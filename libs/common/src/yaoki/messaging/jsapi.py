"""JetStream's API in its own JSON: nats-py's structs lack fields that the topology sets."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import msgspec
import nats.errors

from yaoki.errors import ErrorCode, RejectedError, TransientError

if TYPE_CHECKING:
    from nats.aio.client import Client

JsonObject = dict[str, Any]

_NOT_FOUND = 404
_SERVER_SIDE = 500
_NO_PEERS = 10005  # said with code 400, yet it passes: a node that has just started has not been heard of
_PAUSE_S = 0.25


class JetStreamApi:
    """Requests to `$JS.API`, repeated while JetStream has no leader or too few nodes.

    Args:
        client: The connection.
        timeout_s: For one attempt.
        patience_s: How long a request is repeated.
    """

    def __init__(self, client: Client, *, timeout_s: float = 5.0, patience_s: float = 15.0) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self._patience_s = patience_s

    async def call(self, operation: str, body: JsonObject | None = None) -> JsonObject | None:
        """Return the answer; None when what is asked for does not exist.

        Raises:
            RejectedError: JetStream refuses; says why.
            TransientError: No answer in time.
        """
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                return await self._once(operation, body)
            except TransientError:
                if time.monotonic() + _PAUSE_S >= deadline:
                    raise
            await asyncio.sleep(_PAUSE_S)

    async def _once(self, operation: str, body: JsonObject | None) -> JsonObject | None:
        payload = b"" if body is None else msgspec.json.encode(body)
        try:
            message = await self._client.request(f"$JS.API.{operation}", payload, timeout=self._timeout_s)
        except nats.errors.NoRespondersError as error:
            raise TransientError("JetStream is not enabled on this server, or has no leader now") from error
        except (nats.errors.Error, OSError) as error:
            raise TransientError(
                f"NATS did not answer {operation} within {self._timeout_s} s; may this identity ask it?",
                code=ErrorCode.TIMEOUT,
            ) from error
        reply: JsonObject = msgspec.json.decode(message.data)
        failure = reply.get("error")
        if failure is None:
            return reply
        if failure.get("code") == _NOT_FOUND:
            return None
        sentence = f"{operation}: {failure.get('description')} (err_code {failure.get('err_code')})"
        if failure.get("code", 0) >= _SERVER_SIDE or failure.get("err_code") == _NO_PEERS:
            raise TransientError(sentence)
        raise RejectedError(sentence)
