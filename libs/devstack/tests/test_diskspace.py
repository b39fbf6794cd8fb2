"""A small disk is really full."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest
from yaoki_devstack.diskspace import small_disk
from yaoki_devstack.errors import CommandFailedError
from yaoki_devstack.postgres import PostgresServer

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.real
MEBIBYTE = 1 << 20


def write_mebibyte(path: Path) -> None:
    with path.open("wb") as file:
        file.write(bytes(MEBIBYTE))


async def test_a_full_disk_raises_enospc_until_emptied() -> None:
    async with small_disk(4 * MEBIBYTE) as disk:
        write_mebibyte(disk.path / "before")
        disk.fill(leave=8192)
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)) as failure:
            write_mebibyte(disk.path / "after")
        assert failure.value.errno == errno.ENOSPC
        disk.empty()
        write_mebibyte(disk.path / "after")
        path = disk.path
    assert not path.exists()


async def test_postgres_reports_a_full_disk() -> None:
    async with small_disk(256 * MEBIBYTE) as disk:
        node = PostgresServer(directory=disk.path / "db1")
        try:
            await node.start()
            disk.fill(leave=4 * MEBIBYTE)
            with pytest.raises(CommandFailedError, match="No space left on device"):
                await node.psql("CREATE TABLE t AS SELECT repeat('x', 1000) FROM generate_series(1, 20000)")
        finally:
            await node.kill()
            node.discard()
