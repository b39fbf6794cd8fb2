"""Request-reply: answers, typed errors, concurrency, and what `nats micro` shows."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from yaoki.commands.probe import CheckTarget, ListTargets, TargetList
from yaoki.commands.recovery import RunChain, ShowRun
from yaoki.commands.worker import AskOrder
from yaoki.errors import (
    ConflictError,
    ErrorCode,
    RejectedError,
    StaleEpochError,
    TransientError,
    YaokiError,
)
from yaoki.events.probe import FailureType
from yaoki.messaging import Messaging
from yaoki.messaging.decoding import StrictDecoder
from yaoki.messaging.examples import example_json
from yaoki.messaging.serve import HTTP_CODES
from yaoki.testing import eventually, patient

from .observing import Recorder

if TYPE_CHECKING:
    from yaoki.messaging import NatsSettings

pytestmark = pytest.mark.real


async def empty(_: Any) -> TargetList:
    """An answer."""
    return TargetList(targets=())


def raising(error: Exception) -> Any:
    """A handler that fails."""

    async def handler(_: Any) -> TargetList:
        raise error

    return handler


async def test_a_request_is_answered_with_its_struct(messaging: Messaging) -> None:
    messaging.serve(ListTargets, empty)
    await messaging.start()
    assert await messaging.request(ListTargets()) == TargetList(targets=())


@pytest.mark.parametrize(
    ("error", "http", "kind"),
    [
        (RejectedError("no such target 'x'", code=ErrorCode.NOT_FOUND), "404", RejectedError),
        (RejectedError("not you", code=ErrorCode.NOT_ALLOWED), "403", RejectedError),
        (ConflictError("somebody was first"), "409", ConflictError),
        (StaleEpochError("epoch 1.1 is below 1.2"), "409", StaleEpochError),
        (TransientError("the database is away"), "503", TransientError),
    ],
)
async def test_errors_arrive_as_what_they_were(
    messaging: Messaging, error: YaokiError, http: str, kind: type[YaokiError]
) -> None:
    messaging.serve(ListTargets, raising(error))
    await messaging.start()
    with pytest.raises(kind) as caught:
        await messaging.request(ListTargets())
    assert type(caught.value) is kind
    assert caught.value.code == error.code
    assert caught.value.message == f"probe: {error.message}"
    message = await messaging.client.request("yaoki.api.probe.list", b"{}", timeout=patient(5))
    assert (message.headers or {})["Nats-Service-Error-Code"] == http
    assert (message.headers or {})["Nats-Service-Error"] == error.message
    assert msgspec.json.decode(message.data) == {"error": error.message, "code": error.code.value}


async def test_an_unexpected_error_leaks_nothing(messaging: Messaging) -> None:
    messaging.serve(ListTargets, raising(ValueError("password=hunter2")))
    await messaging.start()
    with pytest.raises(TransientError) as caught:
        await messaging.request(ListTargets())
    assert caught.value.code is ErrorCode.INTERNAL
    message = await messaging.client.request("yaoki.api.probe.list", b"{}", timeout=patient(5))
    answer = message.data.decode() + str(message.headers)
    assert (message.headers or {})["Nats-Service-Error-Code"] == "500"
    assert "see the log of recovery-1, reference " in answer
    assert "hunter2" not in answer
    assert "ValueError" not in answer


async def test_nobody_there_is_unavailable_at_once(messaging: Messaging) -> None:
    with pytest.raises(TransientError, match="is agent-pg-z running") as caught:
        await messaging.request(good(AskOrder), service="agent-pg-z", timeout_s=5)
    assert caught.value.code is ErrorCode.UNAVAILABLE


async def test_no_answer_in_time_is_a_timeout(messaging: Messaging) -> None:
    forever = asyncio.Event()

    async def never(_: Any) -> TargetList:
        await forever.wait()
        return TargetList(targets=())

    messaging.serve(ListTargets, never)
    await messaging.start()
    with pytest.raises(TransientError) as caught:
        await messaging.request(ListTargets(), timeout_s=0.1)
    assert caught.value.code is ErrorCode.TIMEOUT
    forever.set()


def good(request_type: type[AskOrder]) -> AskOrder:
    return StrictDecoder([request_type]).decode(example_json(request_type).encode())


async def test_requests_run_side_by_side_up_to_a_limit(messaging: Messaging) -> None:
    gate = asyncio.Event()
    inside = 0

    async def handler(_: Any) -> TargetList:
        nonlocal inside
        inside += 1
        await gate.wait()
        return TargetList(targets=())

    messaging.serve(ListTargets, handler)
    await messaging.start()
    asking = [asyncio.create_task(messaging.request(ListTargets(), timeout_s=patient(30))) for _ in range(64)]
    await eventually(lambda: inside == 64)
    with pytest.raises(TransientError, match="busy"):
        await messaging.request(ListTargets())
    gate.set()
    assert await asyncio.gather(*asking) == [TargetList(targets=())] * 64


async def test_one_process_answers_under_several_names(messaging: Messaging) -> None:
    async def mine(_: Any) -> TargetList:
        return TargetList(targets=())

    messaging.serve(AskOrder, mine, service="agent-pg-a")
    messaging.serve(AskOrder, raising(RejectedError("not mine")), service="agent-pg-b")
    await messaging.start()
    body = example_json(AskOrder).encode()
    answer = await messaging.client.request("yaoki.api.agent-pg-a.ask", body, timeout=patient(5))
    assert msgspec.json.decode(answer.data)["targets"] == []
    with pytest.raises(RejectedError, match="agent-pg-b: not mine"):
        await messaging.request(good(AskOrder), service="agent-pg-b")


async def test_an_answer_that_is_too_large_is_an_error_not_a_disconnect(messaging: Messaging) -> None:
    class Large(msgspec.Struct):
        text: str

    async def handler(_: Any) -> Large:
        return Large(text="x" * 2 * 1024 * 1024)

    messaging.serve(ListTargets, handler)
    await messaging.start()
    with pytest.raises(RejectedError, match="ask for less"):
        await messaging.request(ListTargets())
    assert messaging.connected


async def test_a_request_without_reply_subject_harms_nothing(messaging: Messaging) -> None:
    messaging.serve(ListTargets, empty)
    await messaging.start()
    await messaging.client.publish("yaoki.api.probe.list", b"{}")
    assert await messaging.request(ListTargets()) == TargetList(targets=())


async def control(messaging: Messaging, verb: str) -> Any:
    answer = await messaging.client.request(f"$SRV.{verb}.yaoki-probe", b"", timeout=patient(5))
    return msgspec.json.decode(answer.data)


async def test_nats_micro_shows_what_to_send_and_counts_errors(messaging: Messaging) -> None:
    messaging.serve(ListTargets, empty)
    messaging.serve(CheckTarget, raising(RejectedError("no such target", code=ErrorCode.NOT_FOUND)))
    await messaging.start()
    info = await control(messaging, "INFO")
    assert info["description"] == "Yaoki probe: list, check"
    assert info["metadata"] == {"instance": "recovery-1"}
    (_, check) = info["endpoints"]
    assert check["subject"] == "yaoki.api.probe.check"
    assert check["metadata"]["request"] == "CheckTarget"
    assert check["metadata"]["reply"] == "CheckReply"
    assert check["metadata"]["example"] == '{"target":"<target>"}'
    assert "Probe a target now" in check["metadata"]["description"]
    with pytest.raises(RejectedError):
        await messaging.request(CheckTarget(target="x"))
    await messaging.request(ListTargets())

    async def counted() -> dict[str, Any]:
        """By endpoint; an answer is on its way before its duration is known."""
        lines = {line["name"]: line for line in (await control(messaging, "STATS"))["endpoints"]}
        return lines if lines["list"]["average_processing_time"] > 0 else {}

    by_name = await eventually(counted)
    assert (by_name["check"]["num_requests"], by_name["check"]["num_errors"]) == (1, 1)
    assert by_name["check"]["last_error"] == "not_found: no such target"
    assert (by_name["list"]["num_requests"], by_name["list"]["num_errors"]) == (1, 0)


async def test_two_instances_share_the_requests(messaging: Messaging, provisioned: NatsSettings) -> None:
    async with Messaging.connect(provisioned, service="recovery", instance="recovery-2") as other:
        for one in (messaging, other):
            one.serve(ListTargets, empty)
            await one.start()
        await asyncio.gather(*(messaging.request(ListTargets()) for _ in range(100)))
        inbox = messaging.client.new_inbox()
        answers = await messaging.client.subscribe(inbox)
        await messaging.client.publish("$SRV.STATS.yaoki-probe", b"", reply=inbox)
        counts = [
            msgspec.json.decode((await answers.next_msg(timeout=patient(5))).data)["endpoints"][0]["num_requests"]
            for _ in range(2)
        ]
        assert sum(counts) == 100
        assert min(counts) > 0


async def test_an_order_is_stored_once_and_carried_out(messaging: Messaging) -> None:
    handler = Recorder[RunChain]()
    order = RunChain(target="orders-db", failure_type=FailureType.DATABASE_CONNECTION, by="ada")
    first = await messaging.order(order, message_id="order-1")
    second = await messaging.order(order, message_id="order-1")
    assert (first.duplicate, second.duplicate) == (False, True)
    messaging.on_commands(RunChain, handler)
    await messaging.start()
    await eventually(lambda: handler.calls)
    ((received, envelope, _),) = handler.calls
    assert received == order
    assert envelope.id == "order-1"


async def test_only_durable_requests_can_be_stored(messaging: Messaging) -> None:
    with pytest.raises(RejectedError, match="not durable"):
        await messaging.order(ShowRun(run_id="r"), message_id="order-1")


async def test_live_messages_reach_whoever_listens(messaging: Messaging) -> None:
    listening = await messaging.client.subscribe("yaoki.live.>")
    await messaging.publish_live(("probe", "orders-db"), TargetList(targets=()))
    message = await listening.next_msg(timeout=patient(5))
    assert (message.subject, message.data) == (
        "yaoki.live.probe.orders-db",
        msgspec.json.encode(TargetList(targets=())),
    )


def test_every_rejection_has_an_http_code() -> None:
    assert set(ErrorCode) - set(HTTP_CODES) == {ErrorCode.FAILED, ErrorCode.INTERNAL}
