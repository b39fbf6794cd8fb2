"""The whole system, as `make up` starts it, shared by all tests that break nothing."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from yaoki_cli.local.system import LocalSystem

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def local_system() -> Iterator[LocalSystem]:
    """Up and ready; ended with everything it started, whatever the tests did to it."""
    with tempfile.TemporaryDirectory(prefix="yaoki-system-") as directory:
        Path(directory).chmod(0o755)  # PostgreSQL's own user has to pass through
        system = LocalSystem(Path(directory) / "local")
        try:
            asyncio.run(system.up(lambda _: None))
            yield system
        finally:
            asyncio.run(system.down())
