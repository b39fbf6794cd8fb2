"""Commands to an application: carried out once, acknowledged by every instance."""

from __future__ import annotations

import asyncio
import gc
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
from yaoki.clock import Uuid7Source
from yaoki.commands.application import ApplicationCommand, CollectGarbage, ResetPools, WarmCache, application_service
from yaoki.errors import ErrorCode, RejectedError, TransientError, YaokiError
from yaoki.messaging import Messaging, NatsSettings
from yaoki.sdk import Yaoki
from yaoki.sdk.commands import CommandDesk, collect_garbage
from yaoki.testing import patient

if TYPE_CHECKING:
    from yaoki.plans import JsonObject
    from yaoki_devstack.nats import NatsServer


class Warmer:
    """Counts how often it was asked; `gate` lets it finish."""

    def __init__(self) -> None:
        self.calls = 0
        self.began = asyncio.Event()
        self.gate = asyncio.Event()

    async def __call__(self, _: WarmCache) -> JsonObject:
        self.calls += 1
        self.began.set()
        await self.gate.wait()
        return {"loaded": 7}


def desk(handler: Any = None) -> CommandDesk:
    made = CommandDesk("orders-1", Uuid7Source())
    if handler is not None:
        made.on(WarmCache, handler)
    return made


def warm(command_id: str = "c-1", timeout_s: float = 30.0) -> WarmCache:
    return WarmCache(by="test", command_id=command_id, timeout_s=timeout_s)


async def test_a_repeat_is_answered_with_what_was_done_the_first_time() -> None:
    warmer = Warmer()
    warmer.gate.set()
    commands = desk(warmer)

    first = await commands.carry_out(warm())
    second = await commands.carry_out(warm())
    other = await commands.carry_out(warm("c-2"))

    assert (first.result, first.repeated) == ({"loaded": 7}, False)
    assert (second.result, second.repeated) == ({"loaded": 7}, True)
    assert not other.repeated
    assert warmer.calls == 2


async def test_a_repeat_that_arrives_while_it_is_being_done_waits_for_it() -> None:
    warmer = Warmer()
    commands = desk(warmer)
    asking = [asyncio.create_task(commands.carry_out(warm())) for _ in range(3)]
    await warmer.began.wait()
    asking[0].cancel()
    warmer.gate.set()

    answers = await asyncio.gather(*asking[1:])

    assert all(answer.repeated for answer in answers)
    assert warmer.calls == 1


async def test_the_same_id_for_another_command_is_another_command() -> None:
    warmer = Warmer()
    warmer.gate.set()
    commands = desk(warmer)
    commands.on(CollectGarbage, collect_garbage)

    await commands.carry_out(warm())
    collected = await commands.carry_out(CollectGarbage(by="test", command_id="c-1"))

    assert "collected" in collected.result


async def test_what_failed_is_tried_again_and_its_text_stays_here() -> None:
    outcomes: list[Exception | None] = [ValueError("postgresql://user:secret@host"), None]

    async def handler(_: WarmCache) -> None:
        if (error := outcomes.pop(0)) is not None:
            raise error

    commands = desk(handler)
    with pytest.raises(YaokiError) as failed:
        await commands.carry_out(warm())

    assert failed.value.code is ErrorCode.FAILED
    assert "ValueError" in failed.value.message
    assert "secret" not in failed.value.message
    assert not (await commands.carry_out(warm())).repeated


async def test_what_takes_too_long_is_cancelled_and_said() -> None:
    with pytest.raises(TransientError, match="not done within") as late:
        await desk(Warmer()).carry_out(warm(timeout_s=0.01))

    assert late.value.code is ErrorCode.TIMEOUT


async def test_what_the_application_cannot_do_is_refused_with_what_to_do() -> None:
    with pytest.raises(RejectedError, match=r"yaoki\.on_command\(WarmCache") as refused:
        await desk().carry_out(warm())

    assert refused.value.code is ErrorCode.PRECONDITION


def test_only_commands_can_be_registered() -> None:
    with pytest.raises(RejectedError, match="WarmCache"):
        desk().on(ApplicationCommand, collect_garbage)  # type: ignore[arg-type]  # what is refused


async def test_the_collector_frees_what_nothing_refers_to() -> None:
    class Node:
        """Refers to itself."""

        def __init__(self) -> None:
            self.itself = self

    gc.disable()
    try:
        gc.collect()
        for _ in range(100):
            Node()
        result = await collect_garbage(CollectGarbage(by="test"))
    finally:
        gc.enable()

    assert result["collected"] >= 100


@pytest.mark.real
async def test_every_instance_of_an_application_acknowledges(nats_server: NatsServer) -> None:
    """Two connections of the same name, as two processes have, and somebody who commands them."""
    settings = NatsSettings(servers=(nats_server.url,), require_sync=False)
    warmers = [Warmer(), Warmer()]
    async with AsyncExitStack() as stack:
        for number, warmer in enumerate(warmers):
            messaging = await stack.enter_async_context(
                Messaging.connect(settings, service="orders", instance=f"orders-{number}")
            )
            application = Yaoki(messaging, "orders")
            application.on_command(WarmCache, warmer)
            await application.serve_commands()
            await application.serve_commands()
            warmer.gate.set()
        recovery = await stack.enter_async_context(
            Messaging.connect(settings, service="recovery", instance="recovery-1")
        )
        service = application_service("orders")
        first = await recovery.gather(warm(), service=service, timeout_s=patient(20))
        again = await recovery.gather(warm(), service=service, timeout_s=patient(20))
        pools = await recovery.gather(ResetPools(by="test"), service=service, timeout_s=patient(20))

    assert set(first.replies) == {"orders-0", "orders-1"}
    assert all(not reply.repeated for reply in first.replies.values())
    assert all(reply.repeated for reply in again.replies.values())
    assert [warmer.calls for warmer in warmers] == [1, 1]
    assert all(reply.result == {"databases": 0, "caches": 0, "pools": 0} for reply in pools.replies.values())
