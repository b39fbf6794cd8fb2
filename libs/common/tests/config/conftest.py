"""A valid configuration, and ways to spoil it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from yaoki.config import Config, ConfigErrors, Extension, Mistake, load_config, vocabulary

if TYPE_CHECKING:
    from collections.abc import Callable

EXAMPLE = Path(__file__).parent / "every_field.yaml"
ACTIONS = ("restart-database-connections", "switch-database", "enable-maintenance")
SECRETS = {name: f"value-of-{name}".lower() for name in re.findall(r"env:(\w+)", EXAMPLE.read_text(encoding="utf-8"))}


@pytest.fixture
def example() -> dict[str, Any]:
    """The example as plain data; a test may change it."""
    data: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    return data


@pytest.fixture
def load(tmp_path: Path) -> Callable[[Any], Config]:
    """Loads text, bytes or plain data as a configuration file, with all secrets set and known actions."""

    def load(content: Any) -> Config:
        path = tmp_path / "yaoki.yaml"
        text = content if isinstance(content, str | bytes) else yaml.safe_dump(content, sort_keys=False)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_config(path, environ=SECRETS, vocabulary=vocabulary(Extension(actions=ACTIONS)))

    return load


@pytest.fixture
def mistakes(load: Callable[[Any], Config]) -> Callable[[Any], list[Mistake]]:
    """The mistakes in a configuration; fails when there is none."""

    def mistakes(content: Any) -> list[Mistake]:
        with pytest.raises(ConfigErrors) as caught:
            load(content)
        return caught.value.mistakes

    return mistakes
