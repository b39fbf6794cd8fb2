"""Metrics of the messaging layer. Labels never hold an entity: targets and run ids have no bound."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

CONSUMED = Counter(
    "yaoki_messages_consumed_total",
    "Messages handed to a handler, by outcome: ack, retry, dead-letter.",
    ["consumer", "event", "outcome"],
)
HANDLER_SECONDS = Histogram(
    "yaoki_message_handler_seconds", "Time in a handler.", ["consumer", "event"], buckets=_SECONDS
)
DEAD_LETTERS = Counter(
    "yaoki_dead_letters_total",
    "Messages put aside, by the service that could not handle them and by reason; a repeat counts again.",
    ["service", "reason"],
)
PUBLISHED = Counter(
    "yaoki_messages_published_total",
    "Messages published, by outcome: stored, duplicate, failed.",
    ["event", "outcome"],
)
PUBLISH_SECONDS = Histogram(
    "yaoki_message_publish_seconds",
    "From publish to acknowledgement, repeats included.",
    ["event"],
    buckets=_SECONDS,
)
REQUESTS = Counter("yaoki_requests_total", "Requests answered.", ["service", "verb", "code"])
REQUEST_SECONDS = Histogram("yaoki_request_seconds", "Time to answer.", ["service", "verb"], buckets=_SECONDS)
CONNECTED = Gauge("yaoki_nats_connected", "1 while connected to NATS.")
RECONNECTS = Counter("yaoki_nats_reconnects_total", "Reconnects to NATS.")
