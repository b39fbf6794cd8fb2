"""A data directory that no clone could replace is refused before anything is started in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from health_probe.agent.mounts import mount_points, require_exchangeable
from health_probe.agent.postgres_agent import PostgresAgentProcess
from yaoki.config import Config, Login, PostgresAgent, PostgresCluster, PostgresMember
from yaoki.errors import RejectedError

if TYPE_CHECKING:
    from pathlib import Path

MOUNTINFO = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 8:17 / /var/lib/postgresql/data rw,relatime shared:2 - ext4 /dev/sdb1 rw
31 22 8:1 /srv/a\\040b /mnt/a\\040b rw,relatime shared:1 - ext4 /dev/sda1 rw

"""


def test_bind_mounts_and_spaces_are_understood() -> None:
    assert mount_points(MOUNTINFO) == {"/", "/var/lib/postgresql/data", "/mnt/a b"}


def test_an_ordinary_directory_is_accepted(tmp_path: Path) -> None:
    require_exchangeable(tmp_path)
    require_exchangeable(tmp_path / "not there yet")


def test_a_link_to_a_mount_point_is_one(tmp_path: Path) -> None:
    link = tmp_path / "data"
    link.symlink_to("/proc")

    with pytest.raises(RejectedError, match="is a mount point"):
        require_exchangeable(link)


def test_an_agent_refuses_to_start_on_a_mount_point(tmp_path: Path) -> None:
    agent = PostgresAgent(
        cluster="orders",
        member="pg-a",
        data_directory="/proc",
        state_directory=str(tmp_path),
        binaries=str(tmp_path),
    )
    cluster = PostgresCluster(
        admin=Login(user="admin"),
        replication=Login(user="replicator"),
        members={"pg-a": PostgresMember(agent="pg-a", host="127.0.0.1")},
    )

    with pytest.raises(RejectedError, match=r"data_directory /proc is a mount point.*Mount the volume on its parent"):
        PostgresAgentProcess(Config(agents={"pg-a": agent}, postgres_clusters={"orders": cluster}), "pg-a", agent)
    assert list(tmp_path.iterdir()) == []
