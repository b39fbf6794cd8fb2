"""Calls HTTP endpoints, signed, without following redirects."""

from __future__ import annotations

import hashlib
import hmac
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import httpx
import msgspec
from yaoki.errors import TransientError
from yaoki.hands import Sight, not_allowed
from yaoki.runs.errors import ActionFailedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from yaoki.clock import Clock
    from yaoki.config.applications import Webhook
    from yaoki.plans import JsonObject

SIGNATURE: Final = "Yaoki-Signature"
_SAID: Final = 500


class WebhookParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Name of the webhook, and what it is told."""

    webhook: str
    target: str
    failure: dict[str, Any] = {}


class Called(msgspec.Struct, frozen=True, kw_only=True):
    """The endpoint has taken the call.

    Attributes:
        answer: The beginning of what it said.
    """

    webhook: str
    status: int
    answer: str


class CallWebhook:
    """See `Hand`. Whether a call arrived whose answer is lost only the receiver knows, by its `Idempotency-Key`."""

    name = "webhook.call"
    params = WebhookParams

    def __init__(self, webhooks: Mapping[str, Webhook], clock: Clock) -> None:
        self._webhooks = webhooks
        self._clock = clock

    async def look(self, params: WebhookParams) -> Sight:
        """See `Hand.look`."""
        return Sight(would=f"send a signed POST to {self._settings(params).url}")

    def happened(self, params: WebhookParams, before: JsonObject, now: Sight) -> None:
        """See `Hand.happened`."""

    async def act(self, params: WebhookParams, seen: Sight, order_id: str) -> Called:  # noqa: ARG002 - the port's signature
        """See `Hand.act`. A redirect is a failure: the secret's signature goes to the configured place only."""
        settings = self._settings(params)
        body = msgspec.json.encode({"order_id": order_id, "target": params.target, "failure": params.failure})
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": order_id,
            SIGNATURE: signature(settings.secret.reveal(), body, int(self._clock.now().timestamp())),
        }
        try:
            verify = settings.url.startswith("https:")  # reading the system's authorities takes time
            async with httpx.AsyncClient(
                timeout=settings.timeout, verify=verify, follow_redirects=False, trust_env=False
            ) as client:
                answer = await client.post(settings.url, content=body, headers=headers)
        except httpx.ConnectError as error:
            raise ActionFailedError(f"webhook {params.webhook!r} cannot be reached: {error}") from error
        except httpx.HTTPError as error:
            said = str(error) or type(error).__name__
            raise TransientError(f"webhook {params.webhook!r} may have been called: {said}") from error
        if not answer.is_success:
            raise _refusal(params.webhook, answer)
        return Called(webhook=params.webhook, status=answer.status_code, answer=answer.text[:_SAID])

    def _settings(self, params: WebhookParams) -> Webhook:
        settings = self._webhooks.get(params.webhook)
        if settings is None:
            raise not_allowed("webhook", params.webhook, self._webhooks, "recovery.webhooks")
        return settings


def signature(secret: str, body: bytes, at: int) -> str:
    """`t=<unix seconds>,v1=<HMAC-SHA256 of "<t>.<body>">`: the time is signed, so that an old call can be refused."""
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


def _refusal(name: str, answer: httpx.Response) -> ActionFailedError | TransientError:
    if answer.is_redirect:
        where = answer.headers.get("Location", "nowhere")
        return ActionFailedError(
            f"webhook {name!r} redirects to {where}; redirects are not followed, name the place itself"
        )
    said = f"webhook {name!r} answers {answer.status_code}: {answer.text[:_SAID]}"
    if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return TransientError(said)  # it may have done a part
    return ActionFailedError(said)
