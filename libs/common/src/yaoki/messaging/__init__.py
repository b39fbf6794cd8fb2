"""Typed messages over NATS with the delivery rules built in."""

from yaoki.messaging.messaging import Messaging
from yaoki.messaging.ports import Entry, Envelope, EventPublisher, KeyValue, Published
from yaoki.messaging.settings import NatsSettings, NatsTls

__all__ = [
    "Entry",
    "Envelope",
    "EventPublisher",
    "KeyValue",
    "Messaging",
    "NatsSettings",
    "NatsTls",
    "Published",
]
