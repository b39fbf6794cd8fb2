"""Webhooks are signed, called once, and never follow a redirect."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from typing import TYPE_CHECKING

import pytest
from recovery.adapters.webhook import SIGNATURE, CallWebhook
from starlette.applications import Starlette
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from yaoki.config import Secret, Webhook
from yaoki.plans import Effect, OutcomeStatus
from yaoki.testing import patient

from .fakes import HandClock
from .hand_orders import Service, succeeded
from .http_servers import served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request


class Receiver:
    """Somebody else's endpoint; `release` lets an answer to /slow out."""

    def __init__(self) -> None:
        self.calls: list[tuple[dict[str, str], bytes]] = []
        self.release = asyncio.Event()

    def app(self) -> Starlette:
        async def take(request: Request) -> Response:
            self.calls.append((dict(request.headers), await request.body()))
            return JSONResponse({"restarted": True})

        async def slow(request: Request) -> Response:
            self.calls.append((dict(request.headers), await request.body()))
            await self.release.wait()
            return Response()

        async def status(request: Request) -> Response:
            return Response("no", status_code=int(request.path_params["code"]))

        async def moved(_request: Request) -> Response:
            return RedirectResponse("/repair")

        return Starlette(
            routes=[
                Route("/repair", take, methods=["POST"]),
                Route("/slow", slow, methods=["POST"]),
                Route("/moved", moved, methods=["POST"]),
                Route("/status/{code}", status, methods=["POST"]),
            ]
        )


@pytest.fixture
async def receiver() -> AsyncIterator[tuple[Receiver, str]]:
    one = Receiver()
    async with served(one.app()) as url:
        yield one, url
        one.release.set()


def service(url: str, timeout: float = 20.0) -> Service:
    webhook = Webhook(url=url, secret=Secret("env:HOOK", "s3cret"), timeout=timeout)
    return Service(CallWebhook({"repair": webhook}, HandClock()))


async def test_the_receiver_can_check_who_called_and_whether_it_has_already(receiver: tuple[Receiver, str]) -> None:
    """A signature over time and body, and the order's identity; the secret itself is nowhere."""
    one, url = receiver
    hooks = service(f"{url}/repair")
    order = hooks.order({"webhook": "repair", "target": "orders-api", "failure": {"failures": 3}}, effect=Effect.ONCE)

    result = succeeded(await hooks.carry_out(order))
    again = succeeded(await hooks.reborn().carry_out(order))

    assert result["status"] == 200
    assert again == result
    ((headers, body),) = one.calls
    at, _, digest = headers[SIGNATURE.lower()].removeprefix("t=").partition(",v1=")
    assert digest == hmac.new(b"s3cret", f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    assert headers["idempotency-key"] == order.command_id
    assert b"s3cret" not in body
    assert b'"failures":3' in body


async def test_a_dry_run_calls_nobody(receiver: tuple[Receiver, str]) -> None:
    """It says where it would go."""
    one, url = receiver

    seen = await service(f"{url}/repair").look(webhook="repair", target="orders-api")

    assert seen["would"] == f"send a signed POST to {url}/repair"
    assert one.calls == []


async def test_a_redirect_is_not_followed(receiver: tuple[Receiver, str]) -> None:
    """The signed call goes to the configured place only."""
    one, url = receiver

    outcome = await service(f"{url}/moved").perform(webhook="repair", target="orders-api")

    assert outcome.status is OutcomeStatus.FAILED
    assert "redirects to /repair" in outcome.error
    assert one.calls == []


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/status/404", OutcomeStatus.FAILED), ("/status/500", OutcomeStatus.UNKNOWN), ("/slow", OutcomeStatus.UNKNOWN)],
)
async def test_what_may_have_happened_is_unknown(
    receiver: tuple[Receiver, str], path: str, expected: OutcomeStatus
) -> None:
    """A refusal did nothing; an error or a lost answer may have. A run asks a person then, and calls nobody twice."""
    one, url = receiver
    hooks = service(f"{url}{path}", timeout=patient(0.5) if path == "/slow" else 20.0)
    order = hooks.order({"webhook": "repair", "target": "orders-api"}, effect=Effect.ONCE)

    first = await hooks.carry_out(order)
    again = await hooks.reborn().carry_out(order)

    assert first.status is again.status is expected
    assert len(one.calls) == (1 if path == "/slow" else 0)


async def test_nobody_there_and_not_allowed() -> None:
    """A connection that was never made did nothing."""
    nobody = await service("http://127.0.0.1:9/").perform(webhook="repair", target="orders-api")
    refused = await service("http://127.0.0.1:9/").perform(webhook="other", target="orders-api")

    assert nobody.status is OutcomeStatus.FAILED
    assert refused.status is OutcomeStatus.REFUSED
    assert "recovery.webhooks allows repair" in refused.error
