"""Old logs are deleted, and only they."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest
from health_probe.agent.hands.logs import DeleteLogs
from yaoki.config import LogSettings, Repairs
from yaoki.plans import OutcomeStatus

from .orders import Agent, succeeded

if TYPE_CHECKING:
    from pathlib import Path

DAY_S = 86_400.0


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    directory = tmp_path / "logs"
    directory.mkdir()
    return directory


def old(path: Path, days: float = 8.0, content: str = "x" * 5000) -> Path:
    path.write_text(content, encoding="ascii")
    stamp = time.time() - days * DAY_S
    os.utime(path, (stamp, stamp))
    return path


def agent_of(*directories: Path) -> Agent:
    return Agent(DeleteLogs(Repairs(logs=tuple(LogSettings(directory=str(one)) for one in directories))))


async def test_old_logs_are_named_with_their_age_and_then_deleted(logs: Path) -> None:
    """Seven days by default; what is younger, or not named like a log, stays."""
    (logs / "deeper").mkdir()
    doomed = [old(logs / "app.log.1"), old(logs / "deeper/app.log.2.gz", days=30.0)]
    kept = [old(logs / "app.log.3", days=6.9), old(logs / "app.log"), old(logs / "data.db", days=100.0)]
    agent = agent_of(logs)

    seen = await agent.look()
    assert all(path.exists() for path in doomed)
    result = succeeded(await agent.perform(before=seen["before"]))

    assert {(one["path"], one["days"]) for one in seen["facts"]["files"]} == {
        (str(doomed[0]), 8.0),
        (str(doomed[1]), 30.0),
    }
    assert "older than 7 d" in seen["would"]
    assert seen["facts"]["kept"] == {"too young": 1}
    assert result["files"] == 2
    assert result["freed_bytes"] > 0
    assert not any(path.exists() for path in doomed)
    assert all(path.exists() for path in kept)


async def test_no_link_leads_out(logs: Path, tmp_path: Path) -> None:
    """Neither a link to a file, nor one to a directory, nor a hard link, nor the directory itself as a link."""
    outside = tmp_path / "outside"
    outside.mkdir()
    precious = [old(outside / "a.log.1"), old(outside / "b.log.1"), old(outside / "c.log.1")]
    (logs / "a.log.1").symlink_to(precious[0])
    (logs / "elsewhere").symlink_to(outside, target_is_directory=True)
    (logs / "c.log.1").hardlink_to(precious[2])
    (tmp_path / "linked").symlink_to(outside, target_is_directory=True)

    inside = await agent_of(logs).perform()
    linked = await agent_of(tmp_path / "linked").perform()

    assert inside.status is OutcomeStatus.SKIPPED
    assert "no regular file" in inside.error
    assert "has another name" in inside.error
    assert linked.status is OutcomeStatus.SKIPPED
    assert all(path.exists() for path in precious)
    assert (logs / "c.log.1").exists()


async def test_what_changed_since_it_was_looked_at_stays(logs: Path, tmp_path: Path) -> None:
    """Written to, replaced by a link, in a directory that was swapped for a link, or new."""
    outside = tmp_path / "outside"
    outside.mkdir()
    precious = [old(outside / "b.log.1"), old(outside / "d.log.1")]
    (logs / "sub").mkdir()
    written, replaced, swapped = old(logs / "a.log.1"), old(logs / "b.log.1"), old(logs / "sub/d.log.1")
    plain = old(logs / "c.log.1")
    agent = agent_of(logs)
    seen = await agent.look()

    old(written, days=7.5)
    replaced.unlink()
    replaced.symlink_to(precious[0])
    (logs / "sub").rename(tmp_path / "moved")
    (logs / "sub").symlink_to(outside, target_is_directory=True)
    new = old(logs / "e.log.1")
    result = succeeded(await agent.perform(before=seen["before"]))

    assert (result["files"], result["kept"]) == (1, 2)
    assert not plain.exists()
    assert written.exists()
    assert new.exists()
    assert all(path.exists() for path in precious)
    assert (tmp_path / "moved" / swapped.name).exists()


async def test_a_file_that_is_open_stays(logs: Path) -> None:
    """A program that keeps its rotated file open would go on writing into nothing."""
    held, free = old(logs / "a.log.1"), old(logs / "b.log.1")
    agent = agent_of(logs)

    with held.open("rb"):
        seen = await agent.look()
        result = succeeded(await agent.perform(before=seen["before"]))

    assert seen["facts"]["kept"] == {"open": 1}
    assert result["files"] == 1
    assert held.exists()
    assert not free.exists()


async def test_a_repeat_after_a_crash_deletes_nothing_more(logs: Path) -> None:
    """What the first order deleted is gone; a log that has come of age since is not part of the order."""
    old(logs / "a.log.1")
    agent = agent_of(logs)
    seen = await agent.look()
    succeeded(await agent.perform(before=seen["before"]))
    later = old(logs / "b.log.1")

    again = succeeded(await agent.reborn().perform(before=seen["before"]))

    assert again["already"] is True
    assert later.exists()


async def test_other_directories_are_refused(logs: Path) -> None:
    """An order cannot name a directory that the configuration does not."""
    old(logs / "a.log.1")

    outcome = await agent_of(logs).perform(directory="/")

    assert outcome.status is OutcomeStatus.REFUSED
    assert f"repairs.logs allows {logs}" in outcome.error
