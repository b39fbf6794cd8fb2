"""What `yaoki provision` makes: every stream, bucket and consumer of Yaoki, in one table.

Services declare nothing: a service that declares a stream differently would change it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from yaoki.commands import REQUESTS
from yaoki.events.probe import (
    FailureCleared,
    FailureDetected,
    FlappingStopped,
    ProbeEvent,
    TargetFlapping,
)

if TYPE_CHECKING:
    from yaoki.commands import Request
    from yaoki.events import Event

DAY_S = 86_400.0
DUPLICATE_WINDOW_S = 120.0
MAX_DELIVER = 30
ACK_WAIT_S = 30.0
MEGABYTE = 1024 * 1024


class StreamSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One stream.

    Attributes:
        name: In capitals.
        subjects: Without the prefix; one that begins with `$` is the server's own and gets none.
        work_queue: Messages leave it when they are acknowledged.
        append_only: Nothing can be deleted or purged.
        max_age_s: How long messages are kept, seconds; None for ever.
        max_bytes: Most bytes it may take; None for no limit of its own.
        schedules: Accepts delayed messages; the server then lets it be purged, so EVENTS cannot have them.
    """

    name: str
    subjects: tuple[str, ...]
    work_queue: bool = False
    append_only: bool = False
    max_age_s: float | None = None
    max_bytes: int | None = None
    schedules: bool = False


class BucketSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One KV bucket: history 1, per-message TTL allowed, no limit markers (a lapsed key is simply gone)."""

    name: str
    owner: str


class ConsumerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One durable pull consumer.

    Attributes:
        durable: `<service>-<purpose>`.
        stream: Where from.
        filters: Subjects without the prefix, as in `StreamSpec`.
        ack_wait_s: When an unsettled message is delivered again; messages in hand are extended before.
        max_deliver: Above the delivery rules' own limits, so that a DLQ that is away has time to come back.
        max_ack_pending: Delivered and not settled at a time, over all instances.
    """

    durable: str
    stream: str
    filters: tuple[str, ...]
    ack_wait_s: float = ACK_WAIT_S
    max_deliver: int = MAX_DELIVER
    max_ack_pending: int = 256


class Topology(msgspec.Struct, frozen=True, kw_only=True):
    """Everything there is to provision."""

    streams: tuple[StreamSpec, ...]
    buckets: tuple[BucketSpec, ...]
    consumers: tuple[ConsumerSpec, ...]


def event_filters(*types: type[Event]) -> tuple[str, ...]:
    """Filters over all entities for the given event types."""
    return tuple(f"evt.{kind.context or '*'}.*.{kind.event_name()}" for kind in types)


def command_durable(service: str, verb: str) -> str:
    """Name of the consumer of one kind of durable order."""
    return f"{service}-cmd-{verb}"


def command_consumer(request: type[Request]) -> ConsumerSpec:
    """The consumer of one kind of durable order."""
    return ConsumerSpec(
        durable=command_durable(request.service, request.verb),
        stream="COMMANDS",
        filters=(f"cmd.{request.service}.{request.verb}",),
        max_ack_pending=64,
    )


ADVISORY_SUBJECTS = (
    "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>",
    "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.>",
)

STREAMS = (
    StreamSpec(name="EVENTS", subjects=("evt.>",), append_only=True),
    StreamSpec(name="COMMANDS", subjects=("cmd.>",), work_queue=True, max_age_s=7 * DAY_S),
    StreamSpec(name="DLQ", subjects=("dlq.>",), max_age_s=90 * DAY_S, max_bytes=1024 * MEGABYTE),
    StreamSpec(name="SCHEDULES", subjects=("sched.>",), schedules=True),
    StreamSpec(name="ADVISORIES", subjects=ADVISORY_SUBJECTS, max_age_s=7 * DAY_S, max_bytes=64 * MEGABYTE),
)

BUCKETS = tuple(
    BucketSpec(name=name, owner=owner)
    for name, owner in (
        ("health", "probe"),
        ("flags", "recovery"),
        ("leases", "runs"),
        ("clusters", "recovery"),
        ("commands", "runs"),
        ("runs", "runs"),
        ("catalog", "backup"),
        ("slo", "probe"),
        ("heartbeats", "probe"),
    )
)

RECOVERY_LISTENS: tuple[type[ProbeEvent], ...] = (
    FailureDetected,
    FailureCleared,
    TargetFlapping,
    FlappingStopped,
)
"""In one consumer, so that their order is kept."""

CONSUMERS = (
    ConsumerSpec(
        durable="recovery-failures",
        stream="EVENTS",
        filters=event_filters(*RECOVERY_LISTENS),
    ),
    *(command_consumer(request) for request in REQUESTS if request.durable),
    ConsumerSpec(durable="advisories", stream="ADVISORIES", filters=ADVISORY_SUBJECTS),
)

TOPOLOGY = Topology(streams=STREAMS, buckets=BUCKETS, consumers=CONSUMERS)
