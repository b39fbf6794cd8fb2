"""Every field of the example, made wrong one by one: the message names the field and what was expected."""

from __future__ import annotations

import copy
import re
from collections import defaultdict
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from yaoki.config import Config, Mistake

EXAMPLE = yaml.safe_load((Path(__file__).parent / "every_field.yaml").read_text(encoding="utf-8"))
DURATION = "a duration such as 250ms, 30s, 5m or 1h"
PORT = "a whole number from 1 to 65535"
SECRET = "a reference to a secret: env:NAME or file:/absolute/path"
NAME = "a name of 1 to 100 of a-z, 0-9, '-' and '_'"

# First match counts: pattern over the path, a wrong value, what the message expects instead.
WRONG: tuple[tuple[str, Any, str], ...] = (
    ("backup.admin_key", "hunter2!", SECRET),
    ("backup.targets.*.stale_after", "0s", "more than 0"),
    ("backup.allowed_hooks*", "quiesce", "an absolute path"),
    ("backup.targets.*.hooks.*.argv[[]0]", "/bin/sh", "a program out of backup.allowed_hooks"),
    ("backup.targets.*.hooks.*.argv*", "", "text that is not empty"),
    ("backup.targets.*.hooks.*.timeout", "0s", "more than 0"),
    ("backup.recipients*", "AGE-SECRET-KEY-1", "text that matches ^age1"),
    ("backup.sweep_after", "0s", "more than 0"),
    ("backup.scratch", "tmp", "an absolute path"),
    ("backup.repositories.*.kind", "gcs", "directory or s3"),
    ("backup.repositories.*.prefix", "/yaoki/", "text that matches"),
    ("backup.repositories.*.endpoint", "s3.example.org", "a URL http://host[:port]/path"),
    ("backup.repositories.*.encryption", "aws:kms", "AES256"),
    ("backup.repositories.*.lock_days", -1, "at least 0"),
    ("backup.repositories.*.lock_mode", "STRICT", "COMPLIANCE or GOVERNANCE"),
    ("backup.repositories.*_key", "hunter2!", SECRET),
    ("backup.repositories.*.session_token", "hunter2!", SECRET),
    ("backup.repositories.*.ca_file", "ca.pem", "an absolute path"),
    ("backup.repositories.*.path", "backups", "an absolute path"),
    ("backup.repositories.*", "", "text that is not empty"),
    ("backup.identity", "hunter2!", SECRET),
    ("backup.targets.*.kind", "mysql", "files, postgres-logical, postgres-physical or redis"),
    ("backup.targets.*.repository", "mian", "a name out of backup.repositories: disk or main"),
    ("backup.targets.*.importance", "vital", "archive, critical, important or standard"),
    ("backup.targets.*.workspace", "Shop!", NAME),
    ("backup.targets.*.rate", "fast", "a size such as 512KiB, 1MiB or 2GiB"),
    ("backup.targets.*.keep.last", 0, "at least 1"),
    ("backup.targets.*.keep.within", "long", DURATION),
    ("backup.targets.*.keep.*", -1, "at least 0"),
    ("backup.targets.*.expect", 1, "text"),
    ("backup.targets.*.assertions*", "", "text that is not empty"),
    ("backup.targets.cache.*tls", "on", "true or false"),
    ("backup.targets.cache.*user", 1, "text"),
    ("backup.redis_server", "redis-server", "an absolute path"),
    ("backup.targets.*.tls", "on", "allow, disable, prefer, require, verify-ca or verify-full"),
    ("backup.targets.*.ca_file", "ca.pem", "an absolute path"),
    ("backup.targets.*.root", "uploads", "an absolute path"),
    ("backup.targets.*.restore_directory", "restored", "an absolute path"),
    ("backup.targets.*.fingerprints", "maybe", "true or false"),
    ("backup.targets.*.pinned*", "", "text that is not empty"),
    ("backup.targets.*.tables*", "", "text that is not empty"),
    ("backup.targets.*.exclude*", "", "text that is not empty"),
    ("backup.targets.*.maintenance_database", "", "text that is not empty"),
    ("backup.targets.*.user", "", "text that is not empty"),
    ("backup.schedules.*.targets*", "order", "a name out of backup.targets: cache, cluster, orders or uploads"),
    ("backup.schedules.*.cron", "0 2 * *", "minute, hour, day of month, month and day of week"),
    ("backup.schedules.*.verify", "sometimes", "true or false"),
    ("backup.schedules.*.time_zone", "Asia/Tokio", "a time zone of the IANA database"),
    ("recovery.chains.*.dry_run", "yes please", "true or false"),
    ("recovery.applications.*.targets*", "order-api", "a name out of targets"),
    ("recovery.applications.*.agent", "web9", "a name out of agents"),
    ("recovery.applications.*.unit", "order.service", "a name out of agents.web1.repairs.units: orders.service"),
    ("recovery.applications.*.process", "biling", "a name out of agents.web1.repairs.processes: billing"),
    ("recovery.applications.*.container", "orders-2", "a name out of agents.web1.repairs.docker.containers: orders-1"),
    ("recovery.applications.*.command", "repare", "a name out of agents.web1.repairs.commands: repair"),
    ("recovery.applications.*.kubernetes", "shop2", "a name out of recovery.kubernetes: shop"),
    (
        "recovery.applications.*.deployment",
        "shop/order",
        "a name out of recovery.kubernetes.shop.deployments: shop/orders",
    ),
    ("recovery.applications.*.backend", "ap", "a name out of agents.web1.repairs.haproxy.backends: app"),
    ("recovery.applications.*.server", "", "text"),
    ("recovery.applications.*.drain", "slowly", DURATION),
    ("recovery.applications.*.cache.group", "cash", "a name out of redis_groups: cache or sessions"),
    ("recovery.applications.*.match", "", "text"),
    ("recovery.applications.*.databases*", "", "text"),
    ("recovery.applications.*.tier", "middle", "backend or frontend"),
    ("recovery.applications.*.fewest", 0, "a whole number of at least 1"),
    ("recovery.applications.*.most", 1, "fewest at most as large as most"),
    ("recovery.applications.*.cpu_target", 101, "more than 0"),
    ("recovery.applications.*.requests_per_instance", 0, "more than 0"),
    ("recovery.applications.*.cooldown", "a while", DURATION),
    ("recovery.applications.*.webhook", "repare", "a name out of recovery.webhooks: repair"),
    ("recovery.kubernetes.*.token", "hunter2!", SECRET),
    ("recovery.kubernetes.*.ca", "k8s.pem", "an absolute path"),
    ("recovery.kubernetes.*.deployments*", "", "text"),
    ("recovery.webhooks.*.secret", "hunter2!", SECRET),
    ("recovery.webhooks.*.effect", "twice", "idempotent or once"),
    ("recovery.guards.runs_per_hour", 0, "a whole number of at least 1"),
    ("recovery.guards.brake_targets", 0, "a whole number of at least 1"),
    ("recovery.guards.brake_percent", 101, "more than 0"),
    ("recovery.guards.*", "soon", DURATION),
    ("agents.*.repairs.units*", "", "text"),
    ("agents.*.repairs.user_units", "no", "true or false"),
    ("agents.*.repairs.*.pid_file", "billing.pid", "an absolute path"),
    ("agents.*.repairs.*.program", "billing", "an absolute path"),
    ("agents.*.repairs.*.group", "yes", "true or false"),
    ("agents.*.repairs.*.patience", "some", DURATION),
    ("agents.*.repairs.*.started_within", "soon", DURATION),
    ("agents.*.repairs.*.start*", "", "text"),
    ("agents.*.repairs.*.socket", "docker.sock", "an absolute path"),
    ("agents.*.repairs.*.containers*", "", "text"),
    ("agents.*.repairs.*.backends*", "", "text"),
    ("agents.*.repairs.*.directory", "log", "an absolute path"),
    ("agents.*.repairs.*.files*", "", "text"),
    ("agents.*.repairs.*.older_than", "old", DURATION),
    ("agents.*.repairs.*.memory", "much", "a size"),
    ("agents.*.repairs.*.cpu", 0, "more than 0"),
    ("agents.*.repairs.*.run*", "", "text"),
    ("agents.*.repairs.*.effect", "twice", "idempotent or once"),
    ("region", "Tokyo!", NAME),
    ("time_zone", "Asia/Tokio", "a time zone of the IANA database"),
    ("slo.time_zone", "Asia/Tokio", "a time zone of the IANA database"),
    ("slo.lease", "1s", "at least 2"),
    ("slo.data_missing_after", "soon", DURATION),
    ("slo.services.*.targets*", "order-api", "a name out of targets"),
    ("slo.services.*.availability", 100, "less than 100"),
    ("slo.services.*.share", 0, "more than 0"),
    ("slo.services.*.within", "3s", "10ms, 20ms, 50ms, 100ms, 200ms, 500ms, 1s, 2s, 5s or 10s"),
    ("slo.services.*.r[tp]o", "0h", "more than 0"),
    ("slo.services.*.below", 101, "less than 100"),
    ("slo.services.*.percent", 0, "more than 0"),
    ("maintenance.notice", "2 days", DURATION),
    ("maintenance.monthly_limit", "90s", "whole minutes"),
    ("maintenance.earliest", "06:00", "a time of day before maintenance.latest"),
    ("maintenance.latest", "25:00", "text that matches"),
    ("maintenance.time_zone", "JST-9", "a time zone of the IANA database"),
    ("nats.servers*", "http://127.0.0.1:4222", "a URL nats://host:port"),
    ("nats.prefix", "yaoki.>", NAME),
    ("nats.replicas", 2, "1 or 3"),
    ("nats.inbox_prefix", "a.>", "text that matches"),
    ("nats.monitoring_url", "127.0.0.1:8222", "a URL http://host[:port]/path"),
    ("nats.tls.hostname", 7, "text"),
    ("nats.tls.handshake_first", "maybe", "true or false"),
    ("nats.tls.*", "relative/path.pem", "an absolute path"),
    ("nats.require_sync", 1, "true or false"),
    ("telemetry.log", "xml", "auto, json or pretty"),
    ("telemetry.level", "loud", "debug, error, info or warning"),
    ("telemetry.otlp_endpoint", "grpc://127.0.0.1:4317", "a URL http://host[:port]/path"),
    ("*.http", "18080", "an address host:port"),
    ("*.failsafe", "127.0.0.1:99999", "an address host:port with a port from 1 to 65535"),
    ("*.jitter", 2, "a number from 0 to 0.5"),
    ("*.interval", "0s", "more than 0"),
    ("*.timeout", "5parsecs", DURATION),
    ("probe.vantages*", "Tokyo!", NAME),
    ("probe.quorum", 4, "at most 3, the number of vantages that look at it"),
    ("probe.lease", "0s", "more than 0"),
    ("probe.disagreement_after", "a while", DURATION),
    ("targets.*.vantages*", "osak", "a name out of probe.vantages: tokyo, osaka or kyoto"),
    ("targets.*.quorum", 3, "at most 2, the number of vantages that look at it"),
    ("probe.allowed_commands*", "check_ntp_time", "an absolute path"),
    ("probe.flapping.results", 3, "a whole number from 4 to 100"),
    ("probe.flapping.*", 1.5, "a number from 0 to 1"),
    ("probe.self_check.references*", "gateway", "host:port"),
    ("probe.self_check.settle", "soon", DURATION),
    ("probe.self_check.loop_lag", "0s", "more than 0"),
    ("probe.self_check.clock_jump", "0s", "more than 0"),
    ("probe.self_check.crowd", -1, "a number from 0 to 1"),
    ("probe.self_check.crowd_targets", 1, "a whole number of at least 2"),
    ("*.suspect_interval", "1h", "at most the interval"),
    ("*.unhealthy_after", 0, "a whole number of at least 1"),
    ("*.healthy_after", 1.5, "a whole number of at least 1"),
    ("*.kind", "postgresql", "http, postgres, redis or tcp"),
    ("*.role", "leader", "primary or replica"),
    ("*.scope", "intern", "internal or external"),
    ("targets.*.cluster", "order", "a name out of postgres_clusters: orders"),
    ("agents.*.cluster", "order", "a name out of postgres_clusters: orders"),
    ("targets.*.group", "cash", "a name out of redis_groups: cache or sessions"),
    ("agents.*.group", "cash", "a name out of redis_groups: cache or sessions"),
    ("targets.*.member", "pg-c", "a name out of postgres_clusters.orders.members: pg-a or pg-b"),
    ("agents.*.member", "nobody", "a name out of"),
    ("recovery.applications.*.scaling.load.prometheus", "127.0.0.1:9090", "a URL http://host[:port]/path"),
    ("recovery.applications.*.scaling.load.every", "0s", "more than 0"),
    ("recovery.applications.*.scaling.load.*_for", "long", DURATION),
    ("recovery.applications.*.scaling.load.*", "", "text that is not empty"),
    ("redis_groups.*.sentinel.addresses*", "10.0.0.7", "host:port"),
    ("redis_groups.*.sentinel.master", "my master", "text that matches"),
    ("*.members.*.agent", "agent-9", "a name out of agents: pg-a, pg-b, redis-a or web1"),
    ("*.depends_on*", "gatewy", "a name out of targets:"),
    ("*.password", "hunter2!", SECRET),
    ("*.failsafe_secret", "hunter2!", SECRET),
    ("*.user", ["root"], "text"),
    ("*.database", "", "text that is not empty"),
    ("*.write_check", "yes please", "true or false"),
    ("*.max_lag_bytes", "16 parsecs", "a size such as 512KiB, 1MiB or 2GiB"),
    ("*.max_lag", -1, DURATION),
    ("*.host", "http://127.0.0.1", "a host name or IP address, without port or scheme"),
    ("*.port", 65536, PORT),
    ("*.url", "127.0.0.1:80", "a URL http://host[:port]/path"),
    ("*.method", "DELETE", "text that matches ^(GET|HEAD)$"),
    ("*.expect_status*", 1000, "a whole number from 100 to 599"),
    ("*.expect_body", ["ok"], "text"),
    ("*.degraded_after", "quick", DURATION),
    ("*.verify_tls", "no way", "true or false"),
    ("*.lease.ttl", "three", DURATION),
    ("*.lease.margin", "2s", "at most a third of the ttl, 1s"),
    ("*.synchronous", 2, "at most 1, the number of members less the primary"),
    ("*.fallback_url", "mysql://db/orders", "a URL postgresql://host:port/database"),
    ("*.promotable", "true", "true or false"),
    ("*.guards", "mysql", "postgres or redis"),
    ("*.state_directory", "state", "an absolute path"),
    ("*.data_directory", "~/data", "an absolute path"),
    ("*.binaries", "bin", "an absolute path"),
    ("*.binary", "redis-server", "an absolute path"),
    ("*.run_as", 1000, "text"),
    ("recovery.transition_delay", "soon", DURATION),
    ("recovery.chains.*.action", "switch-databse", "an action: "),
    ("recovery.chains.*.delay", "soon", DURATION),
    ("recovery.chains.*.attempts", 11, "a whole number from 1 to 10"),
    ("recovery.chains.*[[]0[]]", "restart", "an action: "),
)
FREE = ("recovery.chains.database_connection[[]1].params.*", "*.expect_json.*", "*.expect_headers.*")
"""Parameters belong to the action, which checks them; names of headers and JSON fields are the target's."""


def leaves(node: Any, path: str = "") -> Iterator[str]:
    """Paths of all values that are no mapping or list."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from leaves(value, f"{path}.{key}" if path else key)
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from leaves(value, f"{path}[{index}]")
    else:
        yield path


PATHS = [path for path in leaves(EXAMPLE) if not any(fnmatchcase(path, free) for free in FREE)]


def with_value(path: str, value: Any) -> dict[str, Any]:
    """The example with one value replaced."""
    data: dict[str, Any] = copy.deepcopy(EXAMPLE)
    node: Any = data
    *inner, last = [int(step) if step.isdigit() else step for step in re.findall(r"[^.\[\]]+", path)]
    for step in inner:
        node = node[step]
    node[last] = value
    return data


def test_the_example_is_valid(load: Callable[[Any], Config]) -> None:
    """Otherwise every test below would pass for the wrong reason."""
    config = load(EXAMPLE)

    assert list(config.targets) == list(EXAMPLE["targets"])
    assert config.timing("orders-db").suspect_interval == 0.25
    assert config.timing("gateway").interval == 30.0
    assert config.targets["orders-db-replica"].kind == "postgres"
    assert config.postgres_clusters["orders"].max_lag_bytes == 1_048_576


def test_the_example_has_every_field(load: Callable[[Any], Config]) -> None:
    """A field that is missing in the example would be missing in the table as well."""
    config = load(EXAMPLE)
    given: dict[type[msgspec.Struct], set[str]] = defaultdict(set)

    def visit(struct: Any, mapping: Any) -> None:
        if isinstance(struct, dict):
            for key, value in struct.items():
                visit(value, mapping[key])
        elif isinstance(struct, tuple) and isinstance(mapping, list):
            for value, item in zip(struct, mapping, strict=True):
                visit(value, item)
        elif isinstance(struct, msgspec.Struct) and isinstance(mapping, dict):
            given[type(struct)] |= set(mapping)
            for key in set(mapping) & set(struct.__struct_fields__):
                visit(getattr(struct, key), mapping[key])

    visit(config, EXAMPLE)
    elsewhere = {
        ("NatsSection", "nkey"),
        ("NatsSection", "credentials"),
        ("Address", "host"),
        ("Address", "port"),
    }
    of_every_target = {
        "interval",
        "timeout",
        "suspect_interval",
        "unhealthy_after",
        "healthy_after",
        "scope",
        "depends_on",
        "agent",
        "vantages",
        "quorum",
    }
    missing = {
        (kind.__name__, field)
        for kind, keys in given.items()
        for field in kind.__struct_fields__
        if field not in keys and not (kind.__name__.endswith("Target") and field in of_every_target)
    }

    assert missing <= elsewhere


@pytest.mark.parametrize("path", PATHS)
def test_a_wrong_value_is_named_with_what_was_expected(path: str, mistakes: Callable[[Any], list[Mistake]]) -> None:
    """One wrong field gives a message that says where, what and what instead."""
    wrong, expected = next((value, words) for pattern, value, words in WRONG if fnmatchcase(path, pattern))

    found = mistakes(with_value(path, wrong))

    named = [mistake for mistake in found if mistake.path == path]
    assert len(named) == 1, [str(mistake) for mistake in found]
    assert expected in str(named[0])
    assert named[0].line is not None
    assert "hunter2" not in str(named[0])


@pytest.mark.parametrize("path", PATHS)
def test_a_misspelt_key_is_named_with_the_right_one(path: str, mistakes: Callable[[Any], list[Mistake]]) -> None:
    """No key is silently ignored, and the nearest one is suggested."""
    parent, _, key = path.rpartition(".")
    if "[" in key or key in {"kind", "guards"}:
        return  # list items have no key; the tags have a test of their own
    data = with_value(path, None)
    node: Any = data
    for step in re.findall(r"[^.\[\]]+", parent):
        node = node[int(step) if isinstance(node, list) else step]
    node[f"{key}x"] = node.pop(key)

    found = [mistake for mistake in mistakes(data) if mistake.path == f"{path}x"]

    assert len(found) == 1
    assert f"did you mean '{key}'?" in str(found[0])
