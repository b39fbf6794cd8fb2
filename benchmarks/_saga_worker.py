"""The worker that both sides of `saga_step.py` order, `python _saga_worker.py NATS_URL`: does nothing, says so."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import msgspec
import nats
import uvloop
from yaoki.commands.worker import OrderReply, PerformOrder
from yaoki.plans import Outcome, OutcomeStatus

if TYPE_CHECKING:
    from nats.aio.msg import Msg

_decode = msgspec.json.Decoder(PerformOrder).decode


async def serve(url: str) -> None:
    """Answer until killed; says when it begins."""
    client = await nats.connect(url)

    async def perform(message: Msg) -> None:
        order = _decode(message.data).order
        reply = OrderReply(outcome=Outcome(command_id=order.command_id, status=OutcomeStatus.SUCCEEDED))
        await message.respond(msgspec.json.encode(reply))

    await client.subscribe("yaoki.api.noop.perform", cb=perform)
    await client.flush()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))
