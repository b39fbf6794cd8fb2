"""docs/probes.md: every block loads, and every kind has one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from health_probe.adapters.network import Network
from health_probe.kinds import Surroundings
from health_probe.probes import KINDS
from health_probe.routes import RouteBook
from yaoki.config import ConfigErrors, load_config

PAGE = Path(__file__).parents[4] / "docs" / "probes.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
NAMES = [str(kind.target.__struct_config__.tag) for kind in KINDS]


def load(text: str, tmp_path: Path) -> Surroundings:
    """The configuration with invented secrets, ready to build from."""
    text = re.sub(r"file:/run/secrets/\S+", "env:FROM_FILE", text)
    path = tmp_path / "yaoki.yaml"
    path.write_text(text, encoding="utf-8")
    environ = dict.fromkeys(re.findall(r"env:([A-Z_]+)", text), "secret")
    config = load_config(path, environ=environ)
    return Surroundings(config=config, network=Network(), routes=RouteBook(), vantage="here")


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: re.findall(r"kind: ([a-z0-9-]+)", block)[0])
def test_a_block_can_be_copied(block: str, tmp_path: Path) -> None:
    """It loads without a mistake, and every target in it can be built."""
    surroundings = load(block, tmp_path)

    kinds = {kind.target: kind for kind in KINDS}
    for name, target in surroundings.config.targets.items():
        kind = kinds[type(target)]
        assert kind.build(name, target, surroundings) is not None
        assert f"`{kind.failure_type(target)}`" in TEXT or "failure:" in block
        assert not target.failures or kind.failure_type(target) in target.failures


@pytest.mark.parametrize("name", NAMES)
def test_every_kind_has_a_block(name: str) -> None:
    assert any(f"kind: {name}\n" in block or f"kind: {name}," in block for block in BLOCKS)
    assert f"| [`{name}`]" in TEXT


@pytest.mark.parametrize("name", NAMES)
def test_the_operations_guide_leads_to_the_block_of_every_kind(name: str) -> None:
    guide = PAGE.with_name("operations.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))
    heading = next(heading for heading in sections if name in heading.split(", "))
    anchor = heading.replace(", ", "-")

    assert re.search(rf"\[[^]]*\b{name}\b[^]]*\]\(probes\.md#{anchor}\)", guide)
    assert f"kind: {name}" in sections[heading]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("{kind: cpu, window: 40s}", "targets.t.window: found 40s, expected at least twice the interval, 30s"),
        ("{kind: exec, command: /bin/sh}", "targets.t.command: found /bin/sh, expected a command of probe.allowed"),
        ("{kind: process}", "targets.t: found none of them, expected one of name, pidfile, command_pattern"),
        ("{kind: process, command_pattern: '('}", "expected a regular expression"),
        ("{kind: process, name: a, min_count: 3, max_count: 2}", "found 2, expected at least min_count, 3"),
        ("{kind: tls, host: a, warn_within: 1d}", "targets.t.fail_within: found 7d, expected at most warn_within, 1d"),
        ("{kind: dns, name: a, resolver: 'ns.example:53'}", "expected an IP address with a port"),
        ("{kind: dns, name: a, exclusive: true}", "expected false, or something in expect"),
        ("{kind: nats, host: a, user: b}", "targets.t.password: found nothing, expected user and password together"),
        ("{kind: nats, host: a, stream_subject: 'a.*'}", "targets.t.stream_subject"),
        ("{kind: s3, store: {bucket: a, access_key: AKIA1, secret_key: 'env:S'}}", "a reference to a secret"),
        ("{kind: backup-freshness, max_age: 1d}", "found neither store nor directory"),
        ("{kind: metric}", "found neither prometheus nor application"),
        ("{kind: metric, prometheus: 'http://a:9090'}", "targets.t.query: found nothing"),
        ("{kind: heartbeat, every: 0}", "targets.t.every"),
        ("{kind: filesystem, directory: relative}", "expected an absolute path"),
        (
            "{kind: heartbeat, every: 1h, agent: a}",
            "targets.t.agent: found a, expected nothing (probers hear check-ins)",
        ),
        (
            "{kind: metric, application: shop, agent: a}",
            "targets.t.agent: found a, expected nothing beside application",
        ),
        ("{kind: cpu, agent: a, vantages: [local]}", "targets.t.vantages: found local, expected nothing beside agent"),
    ],
)
def test_what_contradicts_itself_is_refused_with_the_place(target: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors) as refused:
        load(f"targets:\n  t: {target}\n", tmp_path)

    assert expected in refused.value.message
    assert "AKIA1" not in refused.value.message
