"""Provisioning: complete, repeatable, and never taking anything away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from typing_extensions import override
from yaoki.errors import FatalError
from yaoki.messaging import Messaging, NatsSettings
from yaoki.provision import (
    CONSUMER_RULES,
    STREAM_RULES,
    Difference,
    compare,
    consumer_config,
    provision,
    stream_config,
)
from yaoki.testing import patient
from yaoki.topology import STREAMS, TOPOLOGY
from yaoki_devstack.nats import NatsServer

from .conftest import TEST_CONSUMER, with_test_consumer

if TYPE_CHECKING:
    from yaoki.messaging.jsapi import JsonObject

NOT_ALWAYS = "sync_interval: always"


@pytest.mark.real
async def test_everything_is_made_once(settings: NatsSettings) -> None:
    created = await provision(settings)
    names = {(change.kind, change.name) for change in created}
    assert {change.action for change in created} == {"created"}
    assert {("stream", "EVENTS"), ("stream", "DLQ"), ("bucket", "leases")} <= names
    assert ("consumer", "recovery-failures") in names
    assert len(created) == len(TOPOLOGY.streams) + len(TOPOLOGY.buckets) + len(TOPOLOGY.consumers)
    assert await provision(settings) == []


@pytest.mark.real
async def test_a_dry_run_reports_and_makes_nothing(settings: NatsSettings) -> None:
    planned = await provision(settings, dry_run=True)
    assert {change.action for change in planned} == {"created"}
    assert await provision(settings) == planned


@pytest.mark.real
async def test_the_event_stream_keeps_everything_for_ever(messaging: Messaging) -> None:
    reply = await messaging.client.request("$JS.API.STREAM.INFO.EVENTS", b"", timeout=patient(5))
    config = msgspec.json.decode(reply.data)["config"]
    assert config["deny_delete"] is True
    assert config["deny_purge"] is True
    assert config["compression"] == "s2"
    assert config["duplicate_window"] == 120 * 10**9
    assert config["retention"] == "limits"
    assert config.get("max_age", 0) == 0
    assert config.get("allow_msg_ttl", False) is False
    assert config.get("allow_msg_schedules", False) is False


@pytest.mark.real
async def test_drift_is_repaired_and_reported(messaging: Messaging, settings: NatsSettings) -> None:
    js = messaging.jetstream
    consumer = (await js.consumer_info("EVENTS", "recovery-failures")).config
    consumer.ack_wait = 7
    await js.add_consumer("EVENTS", consumer)
    stream = (await js.stream_info("DLQ")).config
    stream.max_age = 600
    await js.update_stream(stream)
    changes = await provision(settings, with_test_consumer())
    assert [(change.name, change.action) for change in changes] == [
        ("DLQ", "updated"),
        ("recovery-failures", "updated"),
    ]
    assert "ack_wait: 7000000000 -> 30000000000" in changes[1].detail
    assert (await js.consumer_info("EVENTS", "recovery-failures")).config.ack_wait == 30
    assert await provision(settings, with_test_consumer()) == []


@pytest.mark.real
async def test_nothing_is_ever_narrowed(messaging: Messaging, settings: NatsSettings) -> None:
    js = messaging.jetstream
    stream = (await js.stream_info("DLQ")).config
    stream.max_age = 0
    stream.subjects = [*(stream.subjects or []), "elsewhere.>"]
    await js.update_stream(stream)
    (change,) = await provision(settings, with_test_consumer())
    assert (change.name, change.action) == ("DLQ", "kept")
    assert "max_age" in change.detail
    assert "elsewhere.>" in change.detail
    after = (await js.stream_info("DLQ")).config
    assert after.max_age in {0, None}
    assert "elsewhere.>" in (after.subjects or [])


@pytest.mark.parametrize(
    ("field", "found", "wanted", "allowed"),
    [
        ("max_age", 60, 0, True),
        ("max_age", 0, 60, False),
        ("max_age", 30, 60, True),
        ("max_age", 60, 30, False),
        ("max_bytes", -1, 100, False),
        ("max_bytes", 100, -1, True),
        ("num_replicas", 1, 3, True),
        ("num_replicas", 3, 1, False),
        ("deny_delete", False, True, True),
        ("deny_delete", True, False, False),
        ("retention", "limits", "workqueue", False),
        ("storage", "memory", "file", False),
        ("subjects", ["a"], ["a", "b"], True),
        ("subjects", ["a", "b"], ["a"], False),
        ("duplicate_window", 200, 120, False),
    ],
)
def test_what_may_be_changed(field: str, found: Any, wanted: Any, *, allowed: bool) -> None:
    assert compare({field: found}, {field: wanted}, STREAM_RULES) == [Difference(field, found, wanted, allowed)]


def test_what_the_server_leaves_out_is_no_difference() -> None:
    settings = NatsSettings()
    wanted = stream_config(STREAMS[0], settings)
    found: JsonObject = {key: value for key, value in wanted.items() if value not in (0, False)}
    found["metadata"] = found["metadata"] | {"_nats.ver": "2.15.1"}
    found["subjects"] = list(reversed(found["subjects"]))
    assert compare(found, wanted, STREAM_RULES) == []
    consumer = consumer_config(TEST_CONSUMER, settings)
    assert compare(dict(consumer), consumer, CONSUMER_RULES) == []


@pytest.mark.real
async def test_another_prefix_is_another_set_of_subjects(server: NatsServer) -> None:
    settings = NatsSettings(servers=(server.url,), monitoring_url=server.monitor_url, prefix="other")
    await provision(settings)
    async with Messaging.connect(settings, service="recovery", instance="r") as messaging:
        info = await messaging.jetstream.stream_info("EVENTS")
        assert info.config.subjects == ["other.evt.>"]


@pytest.mark.real
async def test_two_replicas_are_refused(settings: NatsSettings) -> None:
    with pytest.raises(FatalError, match="expected 1 or 3"):
        await provision(msgspec.structs.replace(settings, replicas=2))


class LazyServer(NatsServer):
    """A server that acknowledges before it syncs, as the default is."""

    @override
    async def prepare(self) -> None:
        await super().prepare()
        text = self.config_file.read_text(encoding="utf-8")
        self.config_file.write_text(text.replace(f"{NOT_ALWAYS}\n", ""), encoding="utf-8")


@pytest.mark.real
async def test_a_server_that_does_not_sync_is_refused() -> None:
    async with LazyServer() as server:
        settings = NatsSettings(servers=(server.url,), monitoring_url=server.monitor_url)
        with pytest.raises(FatalError, match=NOT_ALWAYS):
            await provision(settings)
        with pytest.raises(FatalError, match=NOT_ALWAYS):
            await Messaging.connect(settings, service="recovery", instance="r")
        accepted = msgspec.structs.replace(settings, require_sync=False)
        changes = await provision(accepted)
        assert ("server", "warning") in {(change.kind, change.action) for change in changes}
        async with Messaging.connect(accepted, service="recovery", instance="r") as messaging:
            assert messaging.healthy() == []


@pytest.mark.real
async def test_unknown_is_said_and_what_provision_saw_is_remembered(server: NatsServer) -> None:
    blind = NatsSettings(servers=(server.url,))
    (warning, *_) = await provision(blind)
    assert (warning.kind, warning.action) == ("server", "warning")
    assert "cannot tell" in warning.detail
    seeing = msgspec.structs.replace(blind, monitoring_url=server.monitor_url)
    (marked,) = await provision(seeing)
    assert "yaoki-sync" in marked.detail
    assert await provision(blind) == []
