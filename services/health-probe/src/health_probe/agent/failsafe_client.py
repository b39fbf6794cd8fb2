"""The holder's side of the failsafe: asks everybody who must grant, at once."""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from typing import TYPE_CHECKING

import httpx
import msgspec
from yaoki.telemetry import get_logger

from health_probe.agent.failsafe import GrantReply, GrantRequest, may_extend, must_grant, signature
from health_probe.agent.grants import NONCE, PATH, SIGNATURE, TIMESTAMP

if TYPE_CHECKING:
    from collections.abc import Mapping

    from yaoki.leases import ClusterLease, Member

log = get_logger(__name__)


class FailsafeClient:
    """Asks the agents of the other promotable members directly.

    Args:
        member: This member, the holder.
        members: All members by the configuration; those of the record are asked as well.
        secret: Shared by the agents of the cluster; None: there is no failsafe.
        transport: How requests travel; TCP when left out.
    """

    def __init__(
        self,
        *,
        member: str,
        members: Mapping[str, Member],
        secret: str | None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._member = member
        self._members = members
        self._secret = secret
        # A new connection for each request: one kept from before an outage would cost its timeout.
        self._client = httpx.AsyncClient(
            limits=httpx.Limits(max_keepalive_connections=0),
            trust_env=False,
            transport=transport,
            verify=False,  # noqa: S501 - plain HTTP, authenticated by HMAC
        )

    async def close(self) -> None:
        """Give up what is under way."""
        await self._client.aclose()

    async def extend(self, record: ClusterLease, within_s: float) -> bool:
        """See `Failsafe.extend`."""
        needed = must_grant(self._member, record.members, self._members)
        if needed is None or (needed and self._secret is None):
            return False
        urls = {name: (record.members.get(name) or self._members[name]).failsafe_url for name in needed}
        answers = await asyncio.gather(*(self._ask(name, url, record, within_s) for name, url in urls.items()))
        granting = {name for name, granted in zip(urls, answers, strict=True) if granted}
        return may_extend(needed, granting)

    async def _ask(self, name: str, url: str, record: ClusterLease, within_s: float) -> bool:
        request = GrantRequest(
            cluster=record.cluster, holder=self._member, member=name, epoch=record.epoch, seconds=record.ttl_s
        )
        try:
            async with asyncio.timeout(within_s):
                reply = await self._post(url, request)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, msgspec.MsgspecError, ValueError) as error:
            log.warning("no failsafe grant", member=name, error=f"{type(error).__name__}: {error}")
            return False
        if not reply.granted:
            log.warning("failsafe grant refused", member=name, reason=reply.reason)
        return reply.granted

    async def _post(self, url: str, request: GrantRequest) -> GrantReply:
        body = msgspec.json.encode(request)
        nonce, sent = secrets.token_hex(16), f"{time.time():.6f}"
        secret = self._secret or ""
        signed = signature(secret, direction="ask", timestamp=sent, nonce=nonce, body=body)
        response = await self._client.post(
            f"{url}{PATH}", content=body, headers={TIMESTAMP: sent, NONCE: nonce, SIGNATURE: signed}
        )
        response.raise_for_status()
        expected = signature(
            secret,
            direction="answer",
            timestamp=response.headers.get(TIMESTAMP, ""),
            nonce=nonce,
            body=response.content,
        )
        if not hmac.compare_digest(expected.encode(), response.headers.get(SIGNATURE, "").encode()):
            raise ValueError("the answer's signature is wrong: do all agents have the same failsafe secret?")
        return msgspec.json.decode(response.content, type=GrantReply)
