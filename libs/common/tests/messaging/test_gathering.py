"""Asking every instance of a service at once, on a real server."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
from yaoki.commands.application import CommandDone, ResetPools, application_service
from yaoki.errors import ErrorCode, RejectedError, TransientError
from yaoki.messaging import Messaging, NatsSettings
from yaoki.testing import eventually, patient

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

pytestmark = pytest.mark.real

SERVICE = application_service("orders")
ORDER = ResetPools(by="test", command_id="c-1")


async def done(command: ResetPools, instance: str) -> CommandDone:
    return CommandDone(command_id=command.command_id, instance=instance)


async def refused(_: ResetPools, instance: str) -> CommandDone:
    raise RejectedError(f"{instance} has no pools", code=ErrorCode.PRECONDITION)


async def instances(
    stack: AsyncExitStack,
    settings: NatsSettings,
    **behaviours: Callable[[ResetPools, str], Awaitable[CommandDone]],
) -> None:
    """One connection for each, as processes of one application would have."""
    for name, behaviour in behaviours.items():
        connection = await stack.enter_async_context(Messaging.connect(settings, service="orders", instance=name))

        async def handler(
            command: ResetPools,
            *,
            behaviour: Callable[[ResetPools, str], Awaitable[CommandDone]] = behaviour,
            name: str = name,
        ) -> CommandDone:
            return await behaviour(command, name)

        connection.serve(ResetPools, handler, service=SERVICE)
        await connection.start()


async def test_every_instance_answers_in_its_own_name(messaging: Messaging, settings: NatsSettings) -> None:
    async with AsyncExitStack() as stack:
        await instances(stack, settings, one=done, two=done, three=refused)

        gathered = await messaging.gather(ORDER, service=SERVICE, timeout_s=patient(20))

    assert set(gathered.replies) == {"one", "two"}
    assert {reply.instance for reply in gathered.replies.values()} == {"one", "two"}
    assert gathered.errors["three"].code is ErrorCode.PRECONDITION
    assert gathered.silent == ()


async def test_an_instance_that_is_there_and_does_not_answer_is_named(
    messaging: Messaging, settings: NatsSettings
) -> None:
    free = asyncio.Event()

    async def stuck(command: ResetPools, instance: str) -> CommandDone:
        await free.wait()
        return await done(command, instance)

    async with AsyncExitStack() as stack:
        await instances(stack, settings, one=done, stuck=stuck)

        async def only_one_answered() -> bool:
            gathered = await messaging.gather(ORDER, service=SERVICE, timeout_s=2)
            assert gathered.silent == ("stuck",)
            return set(gathered.replies) == {"one"}

        await eventually(only_one_answered, within=20)
        free.set()


async def test_nobody_there_is_an_error_and_not_an_empty_success(messaging: Messaging) -> None:
    with pytest.raises(TransientError, match="nobody answers"):
        await messaging.gather(ORDER, service=SERVICE, timeout_s=patient(5))
