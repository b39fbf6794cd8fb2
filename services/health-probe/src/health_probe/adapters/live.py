"""Shows results on core NATS, for dashboards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import nats.errors
from yaoki.errors import YaokiError

from health_probe.records import public_view

if TYPE_CHECKING:
    from yaoki.messaging import Messaging

    from health_probe.records import HealthRecord


class NatsLiveFeed:
    """See `reporter.LiveFeed`: `live.probe.<target>`."""

    def __init__(self, messaging: Messaging) -> None:
        self._messaging = messaging

    async def show(self, record: HealthRecord) -> None:
        """See `LiveFeed.show`."""
        if not self._messaging.connected:
            return  # the client would keep it and send stale results after the outage
        try:
            await self._messaging.publish_live(("probe", record.target), public_view(record))
        except (YaokiError, nats.errors.Error):
            return  # lossy on purpose; the view in KV is what counts
