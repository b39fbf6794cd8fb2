"""Asking every process of a service at once.

Who there is to answer is asked at the same time, by NATS micro's own PING: an instance that is connected and does not
answer in time is named, and never passes for one that has done what it was told.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec
import nats.errors

from yaoki.errors import TransientError, YaokiError
from yaoki.messaging.requests import reply_of, request_parts
from yaoki.messaging.serve import YAOKI_INSTANCE

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

    from yaoki.commands.base import Request
    from yaoki.subjects import Subjects

R = TypeVar("R")

_PRESENT_S = 1.0
"""How long processes may take to say that they are there."""


class Gathered(msgspec.Struct, Generic[R], frozen=True, kw_only=True):
    """What came back, by instance.

    Attributes:
        replies: Those that did it.
        errors: Those that answered that they cannot or will not.
        silent: Those that are connected and did not answer in time: they may have done it or not.
    """

    replies: dict[str, R] = {}
    errors: dict[str, YaokiError] = {}
    silent: tuple[str, ...] = ()


class _Pong(msgspec.Struct):
    """What of a PING's answer counts."""

    metadata: dict[str, str] = {}


async def gather(
    client: Client, subjects: Subjects, request: Request, *, service: str, timeout_s: float
) -> Gathered[Any]:
    """Send a request whose type is answered by every instance, and collect the answers.

    Returns as soon as every instance that is there has answered, at the latest after `timeout_s` seconds.

    Raises:
        TransientError: Nobody is there, or NATS is away.
    """
    subject = subjects.api(service, type(request).verb)
    body, headers = request_parts(client, subject, request)
    answers: dict[str, Msg] = {}
    present: set[str] = set()
    heard = asyncio.Event()

    async def answered(message: Msg) -> None:
        instance = (message.headers or {}).get(YAOKI_INSTANCE)
        if instance:
            answers.setdefault(instance, message)
        heard.set()

    async def here(message: Msg) -> None:
        present.add(_instance(message))
        heard.set()

    try:
        inboxes = [await client.subscribe(client.new_inbox(), cb=callback) for callback in (here, answered)]
        try:
            await client.publish(f"$SRV.PING.{subjects.prefix}-{service}", b"", reply=inboxes[0].subject)
            await client.publish(subject, body, reply=inboxes[1].subject, headers=headers)
            await _collect(heard, present, answers, timeout_s)
        finally:
            for inbox in inboxes:
                await inbox.unsubscribe()
    except (nats.errors.Error, OSError) as error:
        raise TransientError(f"NATS is away: {str(error) or type(error).__name__}") from error
    present -= {""}
    if not present and not answers:
        raise TransientError(f"nobody answers {subject}: is {service} running, and does it serve commands?")
    return _sorted(answers, present, request, service)


async def _collect(heard: asyncio.Event, present: set[str], answers: dict[str, Msg], timeout_s: float) -> None:
    """Until all have answered; somebody who is slow to say that they are there is waited for as well.

    As long as nothing at all was heard, not even that nobody is there, this process or the server stands still.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    while (left := began + timeout_s - loop.time()) > 0:
        settling = began + min(_PRESENT_S, timeout_s) - loop.time()
        if settling <= 0 and present and present - {""} <= answers.keys():
            return
        heard.clear()
        try:
            async with asyncio.timeout(min(left, settling) if settling > 0 else left):
                await heard.wait()
        except TimeoutError:
            continue


def _instance(message: Msg) -> str:
    """Whoever answered the PING; empty for the server's own `no responders`."""
    try:
        return msgspec.json.decode(message.data, type=_Pong).metadata.get("instance", "")
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""


def _sorted(answers: dict[str, Msg], present: set[str], request: Request, service: str) -> Gathered[Any]:
    replies: dict[str, Any] = {}
    errors: dict[str, YaokiError] = {}
    for instance, message in sorted(answers.items()):
        try:
            replies[instance] = reply_of(message, request, service)
        except YaokiError as error:
            errors[instance] = error
    return Gathered(replies=replies, errors=errors, silent=tuple(sorted(present - answers.keys())))
