"""What operators copy out of docs/recovery.md is right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from recovery.__main__ import NEEDS
from recovery.actions import ACTIONS
from yaoki.config import DEFAULT_CHAINS, load_config

PAGE = (Path(__file__).parents[3] / "docs/recovery.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
WHOLE = next(block for block in BLOCKS if "pooler:" in block)


@pytest.mark.parametrize("block", BLOCKS[1:])
def test_configuration_that_is_shown_is_valid(block: str, tmp_path: Path) -> None:
    """Every block but the first, which goes with the agents of another."""
    (tmp_path / "yaoki.yaml").write_text(block, encoding="utf-8")

    config = load_config(tmp_path / "yaoki.yaml", needs=())

    assert config.recovery.applications or config.redis_groups


def test_the_chain_of_the_page_goes_with_its_configuration(tmp_path: Path) -> None:
    """Two blocks under `recovery` are one section."""
    chains = BLOCKS[0].removeprefix("recovery:\n")
    (tmp_path / "yaoki.yaml").write_text(WHOLE.replace("recovery:\n", f"recovery:\n{chains}"), encoding="utf-8")

    assert len(load_config(tmp_path / "yaoki.yaml", needs=()).recovery.chains) == 1


def test_every_action_and_every_default_chain_stands_on_the_page() -> None:
    """With its name as chains spell it."""
    assert [action.name for action in ACTIONS if f"`{action.name}`" not in PAGE] == []
    for failure_type, chain in DEFAULT_CHAINS.items():
        words = ", ".join(f"`{link.action}`" for link in chain)
        assert f"| `{failure_type.value}` | {words} |" in PAGE


def test_recovery_resolves_the_secrets_of_its_hands(tmp_path: Path) -> None:
    """Webhooks, Kubernetes and PgBouncer are its own business."""
    (tmp_path / "yaoki.yaml").write_text(WHOLE, encoding="utf-8")
    environ = dict.fromkeys(re.findall(r"env:(\w+)", WHOLE), "x")

    section = load_config(tmp_path / "yaoki.yaml", needs=NEEDS, environ=environ).recovery

    pooler = section.applications["orders"].pooler
    secrets = [section.webhooks["repair"].secret, section.kubernetes["prod"].token, pooler.password if pooler else None]
    assert [secret is not None and secret.resolved for secret in secrets] == [True, True, True]
