"""The backup service as a process of its own on a real NATS."""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import yaml
from nats.js.errors import NotFoundError
from yaoki.events import EVENT_TYPES
from yaoki.messaging import Messaging, NatsSettings
from yaoki.provision import provision
from yaoki.testing import eventually
from yaoki_devstack.nats import NatsServer
from yaoki_devstack.services import ProcessGroup

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from yaoki.events import Event

E = TypeVar("E", bound="Event")

SERVICE = "backup-1"
_EVENTS: msgspec.json.Decoder[Event] = msgspec.json.Decoder(reduce(or_, EVENT_TYPES))


class BackupSystem:
    """NATS and one backup service; `configure` it before `start`."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.nats = NatsServer()
        self.processes = ProcessGroup(environment=environment)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.nats)
        settings = NatsSettings(servers=(self.nats.url,), require_sync=False)
        await provision(settings)
        self.messaging = await self._stack.enter_async_context(
            Messaging.connect(settings, service="test", instance="test-1")
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.processes.close()
        await self._stack.aclose()

    @property
    def log(self) -> str:
        """The end of what the service wrote."""
        return self.processes.tail(SERVICE)

    def configure(self, backup: dict[str, Any]) -> None:
        """Write the `yaoki.yaml`."""
        document = {"nats": {"servers": [self.nats.url]}, "telemetry": {"log": "json"}, "backup": backup}
        (self.processes.directory / "yaoki.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")

    def start(self, *, fault: str = "") -> None:
        """Start the service and wait for nothing."""
        argv = [sys.executable, "-m", "backup", "--config", "yaoki.yaml", "--instance", SERVICE]
        self.processes.start(SERVICE, argv, {"YAOKI_FAULT": fault} if fault else {})

    async def events(self) -> list[Event]:
        """All that was said about backups, oldest first."""
        subject = f"{self.messaging.subjects.prefix}.evt.backup.>"
        found: list[Event] = []
        sequence = 1
        while True:
            try:
                message = await self.messaging.jetstream.get_msg("EVENTS", sequence, subject=subject, next=True)
            except NotFoundError:
                return found
            found.append(_EVENTS.decode(message.data or b""))
            sequence = (message.seq or 0) + 1

    async def wait_for(self, kind: type[E], *, count: int = 1, within: float = 60.0) -> E:
        """The `count`-th event of a type, as soon as it is said."""

        async def said() -> E | None:
            found = [event for event in await self.events() if isinstance(event, kind)]
            assert len(found) >= count, f"{[type(one).__name__ for one in await self.events()]} {self.log}"
            return found[count - 1]

        event = await eventually(said, within=within)
        assert event is not None
        return event
