"""What tests of services need: waiting for conditions, ports kept in memory, fault points.

Delivery, redelivery, reconnects and shutdown are never tested with these: that takes a real server.
"""

from yaoki.testing.memory import InMemoryKeyValue, InMemoryPublisher, PublishedEvent
from yaoki.testing.waiting import eventually, patient

__all__ = ["InMemoryKeyValue", "InMemoryPublisher", "PublishedEvent", "eventually", "patient"]
