"""Maintenance mode for any ASGI application: 503 with Retry-After while the flag is on."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from yaoki.errors import TransientError
from yaoki.flags import Switch, maintenance_key
from yaoki.tasks import end_tasks

if TYPE_CHECKING:
    from yaoki.messaging.ports import Entry, KeyValue

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Message, Receive, Send], Awaitable[None]]

_log = structlog.get_logger(__name__)
_REWATCH_S = 0.5
_LOOKALIKE = 0.85


class SwitchWatch:
    """Follows some switches of the bucket `flags`. While NATS is away the last known values stay in force."""

    def __init__(self, flags: KeyValue, *keys: str) -> None:
        self._flags = flags
        self._switches: dict[str, Switch | None] = dict.fromkeys(keys)
        self._task: asyncio.Task[None] | None = None

    def on(self) -> Switch | None:
        """The first of the switches that is on, or None."""
        return next((one for one in self._switches.values() if one and one.on), None)

    async def start(self) -> None:
        """Begin to follow; returns at once."""
        if self._task is None:
            self._task = asyncio.create_task(self._follow(), name="switch watch")

    async def stop(self) -> None:
        """Stop following."""
        if self._task:
            await end_tasks([self._task])
            self._task = None

    async def _follow(self) -> None:
        common = next(iter(self._switches)).split(".")[0] + "."
        while True:
            try:
                async for entry in self._flags.watch(common):
                    self._take(entry)
            except TransientError as error:
                _log.warning("switch watch interrupted", error=error.message)
            await asyncio.sleep(_REWATCH_S)

    def _take(self, entry: Entry) -> None:
        if entry.key not in self._switches:
            self._doubt(entry)
            return
        try:
            switch = msgspec.json.decode(entry.value, type=Switch) if entry.value else None
        except msgspec.MsgspecError as error:
            _log.error("switch ignored", key=entry.key, error=str(error))
            return
        self._switches[entry.key] = switch

    def _doubt(self, entry: Entry) -> None:
        """Nobody else can tell a misspelt key from that of another application: say what is obeyed here instead."""
        close = difflib.get_close_matches(entry.key, self._switches, n=1, cutoff=_LOOKALIKE)
        if close and entry.value:
            _log.warning("a switch with a similar name is not obeyed here", key=entry.key, obeyed=list(self._switches))


class MaintenanceMiddleware:
    """Answers 503 while maintenance mode is on for all applications or for this one.

    Args:
        app: The application behind it.
        flags: Bucket `flags`.
        application: Its name, the scope of its own switch.
        exempt: Paths that are served nevertheless; health checks must not restart what is under maintenance.
    """

    def __init__(
        self, app: ASGIApp, *, flags: KeyValue, application: str, exempt: tuple[str, ...] = ("/health",)
    ) -> None:
        self._app = app
        self._exempt = exempt
        self._switches = SwitchWatch(flags, maintenance_key(), maintenance_key(application))

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        await self._switches.start()
        switch = self._switches.on()
        if scope["type"] == "http" and switch and scope["path"] not in self._exempt:
            await _refuse(switch, send)
            return
        await self._app(scope, receive, send)

    async def stop(self) -> None:
        """Stop following the flags."""
        await self._switches.stop()


async def _refuse(switch: Switch, send: Send) -> None:
    body = msgspec.json.encode({"error": "maintenance", "reason": switch.reason, "since": switch.since})
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"retry-after", str(switch.retry_after_s).encode()),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body})
