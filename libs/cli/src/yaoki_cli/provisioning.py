"""Provisions what a configuration describes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaoki.config import load_or_exit
from yaoki.config.connect import nats_settings
from yaoki.provision import provision

if TYPE_CHECKING:
    from pathlib import Path

    from yaoki.provision import Change


async def provision_from(file: Path) -> list[Change]:
    """Create what is missing at the NATS of the configuration in `file`; see `yaoki.provision`."""
    config = load_or_exit(file)
    return await provision(nats_settings(config.nats))
