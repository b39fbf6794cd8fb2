"""The standby's side of the failsafe: grants on disk, and the endpoint that gives them."""

from __future__ import annotations

import asyncio
import hmac
import time
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec
from starlette.responses import Response
from yaoki.errors import RejectedError
from yaoki.telemetry import get_logger

from health_probe.agent import metrics
from health_probe.agent.durable import boot_id, boottime, read_state, write_state
from health_probe.agent.failsafe import (
    LONGEST_GRANT_S,
    Grant,
    GrantReply,
    GrantRequest,
    ReplayGuard,
    after_restart,
    granted,
    refusal,
    signature,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from starlette.requests import Request
    from yaoki.epoch import Epoch
    from yaoki.leases import ClusterLease

TIMESTAMP = "x-yaoki-timestamp"
NONCE = "x-yaoki-nonce"
SIGNATURE = "x-yaoki-signature"
PATH = "/failsafe/grant"
_LONGEST_BODY = 4096
log = get_logger(__name__)


class GrantBook:
    """What this member has promised. Every change is on the disk before anybody learns of it.

    A grant and the acceptance of a promotion exclude each other: both change the same file, and `lock` is held while
    one is being decided.
    """

    def __init__(self, state_file: Path) -> None:
        self._state_file = state_file
        self.lock = asyncio.Lock()
        self._grant = self._load()

    def _load(self) -> Grant:
        boot, now = boot_id(), boottime()
        try:
            state = read_state(self._state_file)
            stored = Grant() if state is None else msgspec.convert(state, Grant)
        except (ValueError, msgspec.ValidationError):
            log.exception(
                "the failsafe grants cannot be read; taken for one of the longest", file=str(self._state_file)
            )
            stored = Grant(until=now + LONGEST_GRANT_S, seconds=LONGEST_GRANT_S, boot_id=boot)
        current = after_restart(stored, boot, now)
        if current != stored:
            self._store(current)
        return current

    def _store(self, grant: Grant) -> None:
        write_state(self._state_file, msgspec.to_builtins(grant))
        self._grant = grant

    @property
    def grant(self) -> Grant:
        """What is promised now."""
        return self._grant

    def remaining(self) -> float:
        """Seconds for which a promotion is still excluded."""
        return self._grant.remaining(boottime())

    def give(self, request: GrantRequest) -> None:
        """Promise; on return it is on the disk. The caller holds `lock`."""
        self._store(granted(self._grant, request, boot_id=boot_id(), now=boottime()))

    def accept_promotion(self, epoch: Epoch) -> None:
        """No holder of a lower epoch is granted anything from now on. The caller holds `lock`."""
        if epoch > self._grant.promised:
            self._store(msgspec.structs.replace(self._grant, promised=epoch))


class GrantEndpoint:
    """Answers the holder over HTTP.

    Args:
        cluster: Of this member.
        member: This member.
        secret: Shared by the agents of the cluster.
        book: Where grants are kept.
        known: The lease record as last seen.
        writable: Whether this member holds a permit or is being promoted.
    """

    def __init__(
        self,
        *,
        cluster: str,
        member: str,
        secret: str,
        book: GrantBook,
        known: Callable[[], ClusterLease | None],
        writable: Callable[[], bool],
    ) -> None:
        self._cluster = cluster
        self._member = member
        self._secret = secret
        self._book = book
        self._known = known
        self._writable = writable
        self._replays = ReplayGuard(time.time())

    async def answer(self, request: Request) -> Response:
        """Grant or refuse. A request that is not authentic gets 401 and no answer that could be replayed."""
        nonce = request.headers.get(NONCE, "")
        try:
            body = await _bounded_body(request)
            self._authenticate(request, nonce, body)
            asked = msgspec.json.decode(body, type=GrantRequest)
        except (RejectedError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            metrics.GRANTS.labels("unauthentic").inc()
            log.warning("a failsafe request was refused", error=str(error))
            return Response(status_code=HTTPStatus.UNAUTHORIZED)
        reply = await self._decide(asked)
        metrics.GRANTS.labels("granted" if reply.granted else "refused").inc()
        answer = msgspec.json.encode(reply)
        answered = f"{time.time():.6f}"
        signed = signature(self._secret, direction="answer", timestamp=answered, nonce=nonce, body=answer)
        return Response(answer, media_type="application/json", headers={TIMESTAMP: answered, SIGNATURE: signed})

    def _authenticate(self, request: Request, nonce: str, body: bytes) -> None:
        timestamp = request.headers.get(TIMESTAMP, "")
        expected = signature(self._secret, direction="ask", timestamp=timestamp, nonce=nonce, body=body)
        if not nonce or not hmac.compare_digest(expected.encode(), request.headers.get(SIGNATURE, "").encode()):
            raise RejectedError("the signature is wrong: do all agents have the same failsafe secret?")
        self._replays.check(timestamp, nonce, time.time())

    async def _decide(self, asked: GrantRequest) -> GrantReply:
        async with self._book.lock:
            reason = refusal(
                asked,
                cluster=self._cluster,
                member=self._member,
                grant=self._book.grant,
                known=self._known(),
                writable=self._writable(),
            )
            if reason:
                return GrantReply(granted=False, reason=reason)
            self._book.give(asked)
            return GrantReply(granted=True)


async def _bounded_body(request: Request) -> bytes:
    """The body; it is read before anybody is authenticated, so its size is limited."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _LONGEST_BODY:
            raise RejectedError(f"the body has more than {_LONGEST_BODY} bytes")
    return body
