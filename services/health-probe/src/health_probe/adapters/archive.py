"""Looks into the event stream for what has been told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import nats.errors
from nats.js.errors import APIError, NotFoundError
from yaoki.errors import TransientError
from yaoki.messaging.envelope import MESSAGE_ID

if TYPE_CHECKING:
    from yaoki.messaging import Messaging

    from health_probe.records import VerdictEvent

_STREAM: Final = "EVENTS"


class EventArchive:
    """See `reporter.Archive`."""

    def __init__(self, messaging: Messaging) -> None:
        self._messaging = messaging

    async def holds(self, event: VerdictEvent, identity: str) -> bool:
        """See `Archive.holds`."""
        subject = event.subject(self._messaging.subjects)
        try:
            message = await self._messaging.jetstream.get_last_msg(_STREAM, subject)
        except NotFoundError:
            return False
        except (APIError, nats.errors.Error, OSError) as error:
            raise TransientError(f"the event stream does not answer ({type(error).__name__})") from error
        return str((message.headers or {}).get(MESSAGE_ID, "")) == identity
