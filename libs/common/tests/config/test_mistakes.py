"""What people get wrong beyond single values."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from yaoki.config import Config, ConfigErrors, Extension, HttpTarget, Target, load_config, vocabulary
from yaoki.events.probe import FailureType

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from yaoki.config import Mistake

TEN_MISTAKES = """\
region: Asia Pacific
nats: {servers: [nats://user:hunter2@127.0.0.1:4222]}
probe: {defaults: {interval: 30 parsecs, timout: 5s}}
targets:
  db: {kind: postgres, cluster: main, user: yaoki, password: hunter2}
  tcp: {kind: tcp, host: 127.0.0.1, host: 127.0.0.2, port: 80}
  api: {kind: htpp, url: http://127.0.0.1/}
  cache: {kind: redis}
postgres_clusters:
  main:
    lease: {ttl: 1s, margin: 2s}
    admin: {user: a}
    replication: {user: b}
    members: {a: {agent: nobody, host: h}}
"""


def lines(mistakes: list[Mistake]) -> list[tuple[str, int | None]]:
    """Where each mistake is."""
    return [(mistake.path, mistake.line) for mistake in mistakes]


def test_ten_mistakes_give_ten_messages(mistakes: Callable[[Any], list[Mistake]]) -> None:
    """All at once, in file order, each with its line, none with a password."""
    found = mistakes(TEN_MISTAKES)

    assert lines(found) == [
        ("region", 1),
        ("nats.servers[0]", 2),
        ("probe.defaults.interval", 3),
        ("probe.defaults.timout", 3),
        ("targets.db.password", 5),
        ("targets.tcp.host", 6),
        ("targets.api.kind", 7),
        ("targets.cache", 8),
        ("postgres_clusters.main.lease.margin", 11),
        ("postgres_clusters.main.members.a.agent", 14),
    ]
    assert "hunter2" not in "".join(str(mistake) for mistake in found)


def test_a_program_ends_with_status_2_and_says_everything(tmp_path: Path) -> None:
    """Nothing is started and stdout stays empty."""
    path = tmp_path / "yaoki.yaml"
    path.write_text(TEN_MISTAKES, encoding="utf-8")
    program = "import sys; from yaoki.config import load_or_exit; load_or_exit(sys.argv[1]); print('started')"

    done = subprocess.run(  # noqa: S603 - this interpreter and a program that stands above
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert done.stdout == ""
    assert "10 mistakes in the configuration" in done.stderr
    assert "Nothing was started." in done.stderr
    assert "hunter2" not in done.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "found an empty file"),
        ("# nothing\n", "found an empty file"),
        ("a: [1\n", "expected readable YAML"),
        ("\tregion: a\n", "indent with spaces, not tabs"),
        ("region: a\n---\nregion: b\n", "expected readable YAML"),
        (b"\xff\xfe\x00\x01", "that is not UTF-8"),
        (b"region: \x00\n", "characters that YAML does not allow"),
        ("- region\n", "found a list, expected a mapping with keys out of region"),
        ("region\n", "found 'region', expected a mapping with keys out of region"),
        ("42\n", "found 42, expected a mapping"),
        ("? [a]\n: b\n", "expected"),
        ("targets: &t {a: *t}\n", "expected"),
        ("region: !!python/name:os.system\n", "region: found ''"),
        ("region: 2026-01-01T00:00:00Z\n", "region: found '2026-01-01T00:00:00Z'"),
        ("telemetry: {log: no}\n", "telemetry.log: found false, expected auto, json or pretty"),
        ("nats: {user: 12, password: env:YAOKI_DB_PASSWORD}\n", "put it in quotes if text is meant: '12'"),
        ("targets:\n", "targets: found nothing, expected a mapping"),
        ("probe: {defaults: {interval: .inf}}\n", "found '.inf', expected a duration"),
        ("probe: {http: '127.0.0.1:0'}\n", "expected an address host:port"),
        ("region: " + "a" * 500 + "\n", "...,"),
    ],
)
def test_a_file_that_is_no_configuration_is_explained(
    content: str | bytes, message: str, mistakes: Callable[[Any], list[Mistake]]
) -> None:
    """Whatever is in the file, there is a sentence and never a traceback."""
    assert message in " ".join(str(mistake) for mistake in mistakes(content))


def test_a_missing_file_is_a_mistake(tmp_path: Path) -> None:
    """The reason of the operating system is given."""
    with pytest.raises(ConfigErrors, match="No such file or directory"):
        load_config(tmp_path / "nowhere.yaml")


def test_an_empty_mapping_is_a_whole_configuration(load: Callable[[Any], Config]) -> None:
    """Every section has defaults."""
    config = load("{}\n")

    assert config == Config()
    assert [link.action for link in config.recovery.chain(FailureType.DATABASE_CONNECTION)] == [
        "restart-database-connections",
        "switch-database",
        "enable-maintenance",
    ]
    assert config.recovery.chain(FailureType.BACKUP_STALE) == ()


def test_merge_keys_spare_repetition(load: Callable[[Any], Config]) -> None:
    """A mapping may stand on the shoulders of another; its own keys win."""
    config = load(
        """\
targets:
  a: &tcp {kind: tcp, host: 127.0.0.1, port: 80, timeout: 1s}
  b: {<<: *tcp, port: 81}
"""
    )

    assert config.timing("b").timeout == 1.0
    assert [getattr(target, "port", None) for target in config.targets.values()] == [80, 81]


@pytest.mark.parametrize(
    ("path", "change", "message"),
    [
        ("nats", {"nkey": "env:YAOKI_DB_PASSWORD"}, "one way to log in"),
        ("nats", {"password": None}, "expected nats.password beside nats.user"),
        ("nats.tls", {"key": None}, "certificate and key together"),
        (
            "targets.orders-db",
            {"host": "127.0.0.1"},
            "found both cluster and host, expected either cluster or host",
        ),
        ("probe.flapping", {"start": 0.2, "stop": 0.3}, "found 0.3, expected less than start, 0.2"),
        ("targets.legacy-cache", {"host": None}, "found neither group nor host"),
        ("targets.orders-db", {"member": "pg-a"}, "expected no member for role primary"),
        ("targets.orders-db-replica", {"write_check": True}, "a standby takes no writes"),
        ("targets.orders-db", {"depends_on": ["orders-db"]}, "expected another target than itself"),
        ("targets.gateway", {"depends_on": ["orders-db"]}, "orders-db -> gateway -> orders-db"),
        ("targets.orders-db", {"vantages": ["osaka", "osaka"]}, "expected each vantage once"),
        ("probe", {"vantages": ["tokyo", "tokyo", "osaka"]}, "expected each vantage once"),
        ("targets.gateway", {"vantages": ["kyoto"], "quorum": 2}, "found 2, expected at most 1"),
        ("postgres_clusters.orders", {"failsafe_secret": None}, "its agents have failsafe addresses"),
        ("postgres_clusters.orders.lease", {"margin": "3s"}, "expected less than the ttl, 3s"),
        ("postgres_clusters.orders", {"members": {}}, "expected at least one entry"),
        (
            "postgres_clusters.orders.members.pg-a",
            {"promotable": False},
            "at least one with promotable: true",
        ),
        (
            "postgres_clusters.orders.members.pg-b",
            {"port": 15432},
            "an address of its own; pg-a has this one",
        ),
        (
            "postgres_clusters.orders.members.pg-b",
            {"agent": "pg-a"},
            "agents.pg-a guards postgres orders, member pg-a",
        ),
        ("agents.pg-a", {"state_directory": "/var/lib/yaoki/pg-a/data/state"}, "outside data_directory"),
        ("recovery.chains", {"database_connection": []}, "expected at least one entry"),
        ("recovery.chains", {"database": ["x"]}, "did you mean 'database_connection'?"),
        ("targets", {"Orders DB": {"kind": "tcp", "host": "h", "port": 1}}, "expected a name of 1 to 100"),
    ],
)
def test_parts_that_do_not_fit_together_are_named(
    path: str,
    change: dict[str, Any],
    message: str,
    example: dict[str, Any],
    mistakes: Callable[[Any], list[Mistake]],
) -> None:
    """References and numbers are checked against each other. None removes a key."""
    node = example
    for step in path.split("."):
        node = node[step]
    if "promotable" in change:
        example["postgres_clusters"]["orders"]["members"]["pg-b"]["promotable"] = False
    for key, value in change.items():
        if value is None:
            del node[key]
        else:
            node[key] = value

    assert message in " ".join(str(mistake) for mistake in mistakes(example))


def test_a_broken_entry_does_not_make_references_to_it_wrong(
    example: dict[str, Any], mistakes: Callable[[Any], list[Mistake]]
) -> None:
    """One cause, one message."""
    example["postgres_clusters"]["orders"]["database"] = 5

    assert [mistake.path for mistake in mistakes(example)] == ["postgres_clusters.orders.database"]


@pytest.mark.parametrize(
    "spoilt",
    [
        "{kind: postgres, cluster: nowhere, depends_on: [nobody]}",  # a required key is missing
        "{kind: postgres, user: 5, cluster: nowhere, depends_on: [nobody]}",
        "{kind: postgres, user: a, port: many, cluster: nowhere, depends_on: [nobody]}",
        "{kind: postgres, user: a, prot: 5432, cluster: nowhere, depends_on: [nobody]}",
    ],
)
def test_references_are_checked_in_an_entry_that_is_wrong_in_another_way(
    spoilt: str, mistakes: Callable[[Any], list[Mistake]]
) -> None:
    """Whoever corrects the one mistake must not be told of the next only then."""
    paths = {mistake.path for mistake in mistakes(f"targets: {{t: {spoilt}}}\n")}

    assert {"targets.t.depends_on[0]", "targets.t.cluster"} < paths


@pytest.mark.parametrize(
    "spoilt", ["{kind: postgers, depends_on: [nobody], interval: 1x}", "{depends_on: [nobody], interval: 1x}"]
)
def test_what_every_kind_has_is_checked_without_a_known_kind(
    spoilt: str, mistakes: Callable[[Any], list[Mistake]]
) -> None:
    """The kind is named as well."""
    found = mistakes(f"targets: {{t: {spoilt}}}\n")

    assert {mistake.path for mistake in found} == {"targets.t.kind", "targets.t.depends_on[0]", "targets.t.interval"}


def test_references_of_broken_agents_and_members_are_checked(mistakes: Callable[[Any], list[Mistake]]) -> None:
    """`cluster`, `group` and `agent` as well as `depends_on`."""
    found = mistakes(
        """\
agents:
  a: {guards: postgres, cluster: nowhere}
  b: {guards: redis, group: nowhere}
redis_groups:
  cache: {members: {r: {agent: nobody}}}
slo:
  services: {shop: {targets: [nobody], availability: often}}
"""
    )

    assert {"agents.a.cluster", "agents.b.group", "redis_groups.cache.members.r.agent"} <= {one.path for one in found}
    assert "slo.services.shop.targets[0]" in {one.path for one in found}


def test_exactly_one_decides_who_the_master_of_a_redis_group_is(mistakes: Callable[[Any], list[Mistake]]) -> None:
    """Agents or Sentinel: both would undo each other's failovers, and without either nobody could."""
    sentinel = "{addresses: ['127.0.0.1:26379'], master: cache}"
    member = "{r: {agent: r, host: 127.0.0.1}}"

    (neither,) = [one for one in mistakes("redis_groups: {cache: {}}\n") if one.path == "redis_groups.cache.members"]
    both = mistakes(f"redis_groups: {{cache: {{sentinel: {sentinel}, members: {member}}}}}\n")

    assert "expected at least one member with its agent, or sentinel" in str(neither)
    assert "found members beside sentinel, expected one of the two" in "\n".join(map(str, both))


def test_a_replica_of_a_cluster_says_which_member_it_is(mistakes: Callable[[Any], list[Mistake]]) -> None:
    """Otherwise the first member, often the primary, would be probed as a replica."""
    (found,) = [
        mistake
        for mistake in mistakes(
            "targets: {t: {kind: postgres, role: replica, cluster: main, user: a}}\n"
            "postgres_clusters: {main: {admin: {user: a}, replication: {user: a}, members: {}}}\n"
        )
        if mistake.path == "targets.t.member"
    ]

    assert "expected which member of main this replica is" in str(found)


def test_services_add_kinds_and_actions(tmp_path: Path) -> None:
    """A kind is one struct; its fields are checked like all others."""

    class TlsTarget(Target, frozen=True, kw_only=True, tag="tls"):
        host: str
        days_left: int = 14

    path = tmp_path / "yaoki.yaml"
    path.write_text("targets: {cert: {kind: tls, host: example.org, days_left: many}}\n", encoding="utf-8")
    known = vocabulary(Extension(target_kinds=(TlsTarget,)))

    with pytest.raises(ConfigErrors, match=r"targets\.cert\.days_left: found 'many', expected a whole number"):
        load_config(path, vocabulary=known)
    with pytest.raises(ConfigErrors, match="expected http, postgres, redis or tcp"):
        load_config(path, vocabulary=vocabulary())


def test_action_names_are_free_where_no_service_names_any(tmp_path: Path) -> None:
    """An application that ships without the recovery service can still read the file."""
    path = tmp_path / "yaoki.yaml"
    path.write_text("recovery: {chains: {storage: [anything]}}\n", encoding="utf-8")

    config = load_config(path, vocabulary=vocabulary())

    assert config.recovery.chain(FailureType.STORAGE)[0].action == "anything"


def test_a_target_of_the_standard_kinds_is_typed(load: Callable[[Any], Config], example: dict[str, Any]) -> None:
    """Code that reads a target need not guess."""
    target = load(example).targets["orders-api"]

    assert isinstance(target, HttpTarget)
    assert target.expect_status == (200, 204)


def test_the_environment_is_the_default_for_references(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`env:` means this process's environment."""
    monkeypatch.setitem(os.environ, "YAOKI_TEST_SECRET", "s3cret")
    path = tmp_path / "yaoki.yaml"
    path.write_text("nats: {user: a, password: env:YAOKI_TEST_SECRET}\n", encoding="utf-8")

    password = load_config(path).nats.password

    assert password is not None
    assert password.reveal() == "s3cret"
