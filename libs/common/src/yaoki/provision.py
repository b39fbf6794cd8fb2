"""`yaoki provision`: makes the topology real, says what differs, and never takes anything away.

Run as often as one likes. What would lose or shut out messages (a shorter retention, a smaller limit, fewer
replicas, a subject less) is not done but said, for a person to decide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from typing_extensions import override

from yaoki.errors import FatalError, TransientError
from yaoki.messaging.connection import Connection
from yaoki.messaging.durability import SYNC_MARK, Sync, sync_state
from yaoki.messaging.jsapi import JetStreamApi
from yaoki.topology import DUPLICATE_WINDOW_S, TOPOLOGY, BucketSpec, ConsumerSpec, StreamSpec, Topology

if TYPE_CHECKING:
    from collections.abc import Callable

    from yaoki.messaging.settings import NatsSettings

    JsonObject = dict[str, Any]

_NANOSECONDS = 1_000_000_000
_UNLIMITED = -1
_REPLICAS = (1, 3)


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Something that differs from the topology.

    Attributes:
        kind: `stream`, `bucket`, `consumer` or `server`.
        name: Of the thing.
        action: `created`, `updated`, `kept` (differs, and was left as it is) or `warning`.
        detail: Field by field: what was found, what is wanted.
    """

    kind: str
    name: str
    action: str
    detail: str


class Difference(msgspec.Struct, frozen=True):
    """One field that differs; `allowed` tells whether it may be changed."""

    field: str
    found: Any
    wanted: Any
    allowed: bool

    @override
    def __str__(self) -> str:
        return f"{self.field}: {self.found!r} -> {self.wanted!r}"


async def provision(settings: NatsSettings, topology: Topology = TOPOLOGY, *, dry_run: bool = False) -> list[Change]:
    """Create what is missing and reconcile what differs.

    Args:
        settings: Whose identity may administer streams and consumers.
        topology: What there should be.
        dry_run: Only report.

    Returns:
        What was or would be changed, and what differs but is left; empty when all is as it should be.

    Raises:
        FatalError: The server does not sync every write although that is required, or refuses this client.
        TransientError: JetStream does not answer.
        RejectedError: JetStream refuses a definition.
    """
    if settings.replicas not in _REPLICAS:
        raise FatalError(f"nats.replicas is {settings.replicas}, expected 1 or 3: two cannot outvote a loss")
    connection = Connection(settings, "yaoki-provision")
    await connection.open()
    try:
        api = JetStreamApi(connection.client)
        changes, sync = await _check_server(settings, api)
        worker = _Provisioner(settings, api, dry_run=dry_run)
        for stream in topology.streams:
            changes += await worker.stream(stream_config(stream, settings, sync=sync), "stream")
        for bucket in topology.buckets:
            changes += await worker.stream(bucket_config(bucket, settings), "bucket")
        for consumer in topology.consumers:
            changes += await worker.consumer(consumer.stream, consumer_config(consumer, settings))
        return changes
    finally:
        await connection.close()


async def _check_server(settings: NatsSettings, api: JetStreamApi) -> tuple[list[Change], Sync]:
    sync = await sync_state(settings, api)
    if sync is Sync.ALWAYS:
        return [], sync
    if sync is Sync.PERIODIC and settings.require_sync:
        raise FatalError(
            "nats-server does not sync every write, so a power failure loses acknowledged events: set "
            "`jetstream { sync_interval: always }`, or `nats.require_sync: false` to accept that"
        )
    detail = (
        "sync_interval is not `always`: a power failure loses acknowledged events"
        if sync is Sync.PERIODIC
        else "cannot tell whether sync_interval is `always`: set nats.monitoring_url to have it checked"
    )
    return [Change(kind="server", name="jetstream", action="warning", detail=detail)], sync


class _Provisioner:
    def __init__(self, settings: NatsSettings, api: JetStreamApi, *, dry_run: bool) -> None:
        self._settings = settings
        self._api = api
        self._dry_run = dry_run

    async def stream(self, wanted: JsonObject, kind: str) -> list[Change]:
        name = wanted["name"]
        label = name.removeprefix("KV_") if kind == "bucket" else name
        info = await self._api.call(f"STREAM.INFO.{name}")
        if info is None:
            await self._do(f"STREAM.CREATE.{name}", wanted)
            return [Change(kind=kind, name=label, action="created", detail=_summary(wanted))]
        found = info["config"]
        differences = compare(found, wanted, STREAM_RULES)
        fields = _applied(differences)
        if fields:
            await self._do(f"STREAM.UPDATE.{name}", found | fields)
        return _report(kind, label, differences)

    async def consumer(self, stream: str, wanted: JsonObject) -> list[Change]:
        name = wanted["durable_name"]
        operation = f"CONSUMER.CREATE.{stream}.{name}"
        info = await self._api.call(f"CONSUMER.INFO.{stream}.{name}")
        if info is None:
            await self._do(operation, {"stream_name": stream, "config": wanted, "action": "create"})
            return [Change(kind="consumer", name=name, action="created", detail=_summary(wanted))]
        found = info["config"]
        if "filter_subject" in found:  # the server writes a single filter so
            found["filter_subjects"] = [found.pop("filter_subject")]
        differences = compare(found, wanted, CONSUMER_RULES)
        fields = _applied(differences)
        if fields:
            update = {"stream_name": stream, "config": found | fields, "action": "update"}
            await self._do(operation, update)
        return _report("consumer", name, differences)

    async def _do(self, operation: str, body: JsonObject) -> None:
        if not self._dry_run and await self._api.call(operation, body) is None:
            raise TransientError(f"{operation}: what it belongs to has just disappeared; run provision again")


def _applied(differences: list[Difference]) -> JsonObject:
    return {difference.field: difference.wanted for difference in differences if difference.allowed}


def _report(kind: str, name: str, differences: list[Difference]) -> list[Change]:
    changes = []
    applied = ", ".join(str(difference) for difference in differences if difference.allowed)
    kept = ", ".join(str(difference) for difference in differences if not difference.allowed)
    if applied:
        changes.append(Change(kind=kind, name=name, action="updated", detail=applied))
    if kept:
        detail = f"{kept}: not changed, messages could be lost; decide by hand"
        changes.append(Change(kind=kind, name=name, action="kept", detail=detail))
    return changes


def stream_config(spec: StreamSpec, settings: NatsSettings, *, sync: Sync = Sync.UNKNOWN) -> JsonObject:
    """The definition of a stream in JetStream's terms."""
    metadata = {"owner": "yaoki"}
    if spec.name == "EVENTS" and sync is Sync.ALWAYS:
        metadata[SYNC_MARK] = sync.value
    return {
        "name": spec.name,
        "subjects": [_prefixed(subject, settings.prefix) for subject in spec.subjects],
        "retention": "workqueue" if spec.work_queue else "limits",
        "storage": "file",
        "num_replicas": settings.replicas,
        "max_age": round((spec.max_age_s or 0) * _NANOSECONDS),
        "max_bytes": spec.max_bytes or _UNLIMITED,
        "discard": "old",
        "compression": "s2",
        "duplicate_window": round(DUPLICATE_WINDOW_S * _NANOSECONDS),
        "deny_delete": spec.append_only,
        "deny_purge": spec.append_only,
        "allow_direct": True,
        "allow_msg_ttl": spec.schedules,
        "allow_msg_schedules": spec.schedules,
        "metadata": metadata,
    }


def bucket_config(spec: BucketSpec, settings: NatsSettings) -> JsonObject:
    """The definition of a bucket: a stream that NATS clients know as KV."""
    return {
        "name": f"KV_{spec.name}",
        "subjects": [f"$KV.{spec.name}.>"],
        "retention": "limits",
        "storage": "file",
        "num_replicas": settings.replicas,
        "max_msgs_per_subject": 1,
        "max_age": 0,
        "max_bytes": _UNLIMITED,
        "discard": "new",
        "compression": "none",
        "duplicate_window": round(DUPLICATE_WINDOW_S * _NANOSECONDS),
        "deny_delete": True,
        "deny_purge": False,
        "allow_direct": True,
        "allow_rollup_hdrs": True,
        "allow_msg_ttl": True,
        "metadata": {"owner": spec.owner},
    }


def consumer_config(spec: ConsumerSpec, settings: NatsSettings) -> JsonObject:
    """The definition of a consumer in JetStream's terms."""
    return {
        "durable_name": spec.durable,
        "name": spec.durable,
        "deliver_policy": "all",
        "ack_policy": "explicit",
        "replay_policy": "instant",
        "ack_wait": round(spec.ack_wait_s * _NANOSECONDS),
        "max_deliver": spec.max_deliver,
        "max_ack_pending": spec.max_ack_pending,
        "filter_subjects": [_prefixed(subject, settings.prefix) for subject in spec.filters],
    }


def _prefixed(subject: str, prefix: str) -> str:
    return subject if subject.startswith("$") else f"{prefix}.{subject}"


def _free(_: Any, __: Any) -> bool:
    return True


def _never(_: Any, __: Any) -> bool:
    return False


def _only_on(_: Any, wanted: Any) -> bool:
    """Protections and abilities are switched on, not off."""
    return bool(wanted)


def _only_more(found: Any, wanted: Any) -> bool:
    """Numbers grow; 0 and -1 mean no limit."""
    if wanted in {0, _UNLIMITED}:
        return True
    return found not in {0, _UNLIMITED} and wanted > found


def _only_more_subjects(found: Any, wanted: Any) -> bool:
    return set(found) <= set(wanted)


STREAM_RULES: dict[str, Callable[[Any, Any], bool]] = {
    "subjects": _only_more_subjects,
    "retention": _never,
    "storage": _never,
    "num_replicas": _only_more,
    "max_age": _only_more,
    "max_bytes": _only_more,
    "max_msgs_per_subject": _only_more,
    "discard": _never,
    "compression": _free,
    "duplicate_window": _only_more,
    "deny_delete": _only_on,
    "deny_purge": _only_on,
    "allow_direct": _only_on,
    "allow_rollup_hdrs": _only_on,
    "allow_msg_ttl": _only_on,
    "allow_msg_schedules": _only_on,
    "metadata": _free,
}

# A consumer holds no messages, so it follows the topology; what the server cannot change stays.
CONSUMER_RULES: dict[str, Callable[[Any, Any], bool]] = {
    "deliver_policy": _never,
    "ack_policy": _never,
    "replay_policy": _never,
    "ack_wait": _free,
    "max_deliver": _free,
    "max_ack_pending": _free,
    "filter_subjects": _free,
}


def compare(found: JsonObject, wanted: JsonObject, rules: dict[str, Callable[[Any, Any], bool]]) -> list[Difference]:
    """The fields of `wanted` that differ, and whether each may be changed. Pure."""
    differences = []
    for field, rule in rules.items():
        if field not in wanted:
            continue
        present, target = _normal(found.get(field), wanted[field])
        if present != target:
            differences.append(Difference(field, present, target, rule(present, target)))
    return differences


def _normal(present: Any, target: Any) -> tuple[Any, Any]:
    """Both values in one form: the server leaves out what is off or zero."""
    if isinstance(target, dict):
        return present or {}, (present or {}) | target  # the server keeps its own marks there
    if isinstance(target, list):
        return sorted(present or ()), sorted(target)  # their order means nothing
    if isinstance(target, bool):
        return bool(present), target
    if isinstance(target, int):
        return present or 0, target
    return present, target


def _summary(config: JsonObject) -> str:
    """What a person wants to see of something new."""
    shown = ("subjects", "filter_subjects", "num_replicas", "retention")
    return ", ".join(f"{field}={config[field]!r}" for field in shown if field in config)
