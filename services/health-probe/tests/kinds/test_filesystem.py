"""The kind `filesystem`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from health_probe.adapters import file_trial
from health_probe.probes.filesystem import FilesystemCheck
from yaoki.events.probe import ErrorClass, ProbeStatus
from yaoki_devstack.diskspace import small_disk

MIB = 1 << 20


def check(directory: Path | str, min_free: int = 0, max_used: float = 100.0) -> FilesystemCheck:
    return FilesystemCheck(directory=str(directory), min_free_bytes=min_free, max_used_percent=max_used)


async def test_a_directory_that_takes_a_file_is_well_and_keeps_nothing(run: Any, tmp_path: Path) -> None:
    result = await run(check(tmp_path))

    assert result.status is ProbeStatus.HEALTHY, result
    assert result.facts["free_bytes"] > 0
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - an asynchronous test; the directory is local


@pytest.mark.real
async def test_a_full_disk_is_a_failure_of_capacity(run: Any) -> None:
    async with small_disk(2 * MIB) as disk:
        empty = await run(check(disk.path))
        disk.fill()
        full = await run(check(disk.path))
        disk.empty()
        again = await run(check(disk.path))

    assert (empty.status, again.status) == (ProbeStatus.HEALTHY, ProbeStatus.HEALTHY)
    assert (full.status, full.error_class) == (ProbeStatus.UNHEALTHY, ErrorClass.CAPACITY), full
    assert full.phase in ("create", "write", "fsync")


@pytest.mark.real
async def test_too_little_room_is_a_failure_before_the_disk_is_full(run: Any) -> None:
    async with small_disk(4 * MIB) as disk:
        disk.fill(leave=MIB)
        by_bytes = await run(check(disk.path, min_free=2 * MIB))
        by_share = await run(check(disk.path, max_used=50.0))

    assert by_bytes.error_class is by_share.error_class is ErrorClass.CAPACITY
    assert "bytes free of 2097152" in by_bytes.detail
    assert "% of the space used" in by_share.detail


async def test_a_directory_without_permission_is_said_so(run: Any, tmp_path: Path) -> None:
    """Root may write anywhere but in the kernel's own trees."""
    closed = Path("/sys/kernel") if os.geteuid() == 0 else tmp_path / "closed"
    if closed.parent == tmp_path:
        closed.mkdir(mode=0o500)

    result = await run(check(closed))

    assert (result.status, result.error_class, result.phase) == (ProbeStatus.UNHEALTHY, ErrorClass.AUTH, "create")
    assert str(closed) in result.detail


async def test_a_missing_directory_is_a_failure(run: Any, tmp_path: Path) -> None:
    result = await run(check(tmp_path / "gone"))

    assert (result.status, result.error_class) == (ProbeStatus.UNHEALTHY, ErrorClass.PROTOCOL)
    assert "No such file or directory" in result.detail


def test_the_trial_needs_nothing_but_the_standard_library() -> None:
    """It is started alone, without site-packages, so that it starts fast and nothing of ours can hang in it."""
    argv = [sys.executable, "-I", "-S", str(file_trial.__file__), "space", "/"]
    output = subprocess.run(argv, check=True, capture_output=True, env={}).stdout  # noqa: S603 - our own program

    assert b"free_bytes" in output
