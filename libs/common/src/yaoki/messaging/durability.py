"""Whether the server writes to disk before it acknowledges.

The default, a sync every two minutes, loses acknowledged messages when the power fails. An ordinary account cannot
ask: the monitoring URL tells, or the mark that `yaoki provision` left on EVENTS when it had looked there.
"""

from __future__ import annotations

import asyncio
import http.client
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
import structlog

from yaoki.errors import FatalError, TransientError
from yaoki.messaging.jsapi import JetStreamApi

if TYPE_CHECKING:
    from nats.aio.client import Client

    from yaoki.messaging.settings import NatsSettings

_log = structlog.get_logger("yaoki.messaging")

SYNC_MARK = "yaoki-sync"
_TIMEOUT_S = 3.0
_OK = 200


class Sync(StrEnum):
    """ALWAYS: before each acknowledgement. PERIODIC: later. UNKNOWN: nobody could tell; not the same as ALWAYS."""

    ALWAYS = "always"
    PERIODIC = "periodic"
    UNKNOWN = "unknown"


async def sync_state(settings: NatsSettings, api: JetStreamApi) -> Sync:
    """What is known of the server's `sync_interval`."""
    if settings.monitoring_url is not None:
        state = await asyncio.to_thread(_ask_monitoring, settings.monitoring_url)
        if state is not Sync.UNKNOWN:
            return state
    info = await api.call("STREAM.INFO.EVENTS")
    metadata = ((info or {}).get("config") or {}).get("metadata") or {}
    return Sync.ALWAYS if metadata.get(SYNC_MARK) == Sync.ALWAYS else Sync.UNKNOWN


async def check_sync(settings: NatsSettings, client: Client) -> None:
    """An acknowledgement that does not survive a power failure is worth little to a recovery journal.

    Raises:
        FatalError: The server syncs later, and the settings demand that it does at once.
    """
    if not settings.require_sync:
        return
    try:
        sync = await sync_state(settings, JetStreamApi(client, timeout_s=2.0, patience_s=4.0))
    except TransientError:
        sync = Sync.UNKNOWN
    if sync is Sync.PERIODIC:
        raise FatalError(
            "nats-server does not sync every write: set `jetstream { sync_interval: always }`, or "
            "`nats.require_sync: false` to accept that a power failure loses acknowledged events"
        )
    if sync is Sync.UNKNOWN:
        _log.warning(
            "cannot tell whether nats-server syncs every write",
            hint="set nats.monitoring_url and run `yaoki provision`",
        )


def _ask_monitoring(url: str) -> Sync:
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = kind(parts.hostname or "127.0.0.1", parts.port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", f"{parts.path.rstrip('/')}/jsz")
        response = connection.getresponse()
        if response.status != _OK:
            return Sync.UNKNOWN
        answer: dict[str, Any] = msgspec.json.decode(response.read())
    except (OSError, http.client.HTTPException, msgspec.MsgspecError):
        return Sync.UNKNOWN
    finally:
        connection.close()
    config = answer.get("config")
    if not isinstance(config, dict):
        return Sync.UNKNOWN
    return Sync.ALWAYS if config.get("sync_always") else Sync.PERIODIC
