"""A small service as a process of its own, for tests that kill, freeze or stop it.

Arguments: server URL, monitoring URL, behaviour, path of a file that gets one line for each call of the handler.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from yaoki.events.agent import ServerStarted
from yaoki.messaging import Messaging, NatsSettings
from yaoki.messaging.delivery import DeliveryPolicy

if TYPE_CHECKING:
    from yaoki.messaging import Envelope

POLICY = DeliveryPolicy(attempts=2, transient_attempts=3, delays_s=(0.2,))


class Behaviour:
    """What the handler does when it is called."""

    def __init__(self, name: str, log: Path) -> None:
        self._name = name
        self._log = log

    def say(self, word: str) -> None:
        """One line for the test."""
        with self._log.open("a", encoding="utf-8") as file:
            file.write(f"{word}\n")

    async def __call__(self, event: ServerStarted, envelope: Envelope) -> None:
        """Die, freeze, or take a second."""
        self.say(f"begin {event.member} {envelope.deliveries}")
        if self._name == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if self._name == "freeze":
            time.sleep(600)  # noqa: ASYNC251 - a frozen loop is what the test is about
        if self._name == "slow":
            await asyncio.sleep(1)
        self.say(f"end {event.member}")


async def serve(url: str, monitoring_url: str, name: str, log: Path) -> None:
    """Run until SIGTERM."""
    settings = NatsSettings(servers=(url,), monitoring_url=monitoring_url)
    if name == "freeze":
        settings = msgspec.structs.replace(settings, freeze_limit_s=1.0)
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    behaviour = Behaviour(name, log)
    connecting = Messaging.connect(settings, service="recovery", instance="child", policy=POLICY)
    async with connecting as messaging:
        messaging.on(durable="recovery-starts", types=(ServerStarted,), handler=behaviour, slow=name == "slow")
        await messaging.start()
        behaviour.say("ready")
        await stopping.wait()
    behaviour.say("stopped")


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4])))
