"""Somebody outside can ask whether backups are fresh; what cannot be read is not healthy."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest
import pytest_asyncio
from backup.adapters.directory import DirectoryObjectStore
from backup.adapters.health_route import PATH, health_route
from backup.freshness import judge
from backup.repository import Entry, Repository
from yaoki.clock import SystemClock
from yaoki.config.backup import FilesBackup
from yaoki.config.forms import Address
from yaoki.http import HttpServer

from .backups import START, manifest, record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

DAY = timedelta(days=1)
LIMIT_S = (2 * DAY).total_seconds()
KEY = "admin-secret"


def test_the_newest_that_can_be_relied_on_counts() -> None:
    old, new, broken = manifest(START), manifest(START + DAY, salt=2), manifest(START + 2 * DAY, salt=3)
    entries = [
        Entry(manifest=new),
        Entry(manifest=old, records=(record(old, START + DAY),)),
        Entry(manifest=broken, records=(record(broken, START + 2 * DAY, passed=False),)),
    ]

    found = judge(entries, now=START + 3 * DAY, limit_s=LIMIT_S)

    assert (found.healthy, found.last_backup, found.count) == (True, new.backup_id, 2)
    assert (found.age_s, found.latest_bytes, found.verified_at) == (LIMIT_S, new.stored_size, START + DAY)


def test_what_is_late_broken_or_of_tomorrow_is_unhealthy() -> None:
    """Each with its reason."""
    late = judge([Entry(manifest=manifest(START))], now=START + 2 * DAY + timedelta(seconds=1), limit_s=LIMIT_S)
    tomorrow = judge([Entry(manifest=manifest(START + DAY))], now=START, limit_s=LIMIT_S)
    nothing = judge([], now=START, limit_s=LIMIT_S)

    assert [one.healthy for one in (late, tomorrow, nothing)] == [False] * 3
    assert "172801 s old, 172800 s are allowed" in late.reason
    assert "1 are broken or dated in the future" in tomorrow.reason
    assert nothing.reason == "there is no backup that can be relied on"


class Served:
    """The route on a real server, over a repository in a directory."""

    def __init__(self, root: Path, url: str) -> None:
        self.root = root
        self.url = url
        self.repository = Repository("disk", DirectoryObjectStore(root), "yaoki")

    async def ask(self, key: str = KEY) -> tuple[int, Any]:
        async with httpx.AsyncClient() as client:
            answer = await client.get(self.url + PATH, headers={"authorization": f"Bearer {key}"}, timeout=60)
        return answer.status_code, answer.json() if answer.content else None


@pytest_asyncio.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    root = tmp_path / "repository"
    root.mkdir()
    repositories = {"disk": Repository("disk", DirectoryObjectStore(root), "yaoki")}
    targets = {"uploads": FilesBackup(repository="disk", root="/srv/uploads")}
    server = HttpServer([health_route(targets, repositories, SystemClock(), KEY)], Address("127.0.0.1", 0))
    await server.start()
    yield Served(root, server.url)
    await server.stop()


@pytest.mark.real
async def test_the_route_answers_from_the_repository_itself(served: Served) -> None:
    """None, an old one, a fresh one, and a disk that is not mounted any more."""
    now = SystemClock().now()
    assert (await served.ask())[0] == 503

    old = msgspec.structs.replace(manifest(now - 3 * DAY), target="uploads")
    await served.repository.publish(old)
    status, answer = await served.ask()
    assert (status, answer["status"]) == (503, "unhealthy")
    assert answer["targets"]["uploads"]["last_backup"] == old.backup_id

    fresh = msgspec.structs.replace(manifest(now - timedelta(hours=1), salt=2), target="uploads")
    await served.repository.publish(fresh)
    status, answer = await served.ask()
    assert (status, answer["status"]) == (200, "healthy")
    shown = answer["targets"]["uploads"]
    assert (shown["last_backup"], shown["count"], shown["latest_bytes"]) == (fresh.backup_id, 2, fresh.stored_size)

    served.root.rename(served.root.with_name("unmounted"))
    status, answer = await served.ask()
    assert status == 503
    assert "cannot be read" in answer["targets"]["uploads"]["reason"]


@pytest.mark.real
async def test_who_has_no_key_learns_nothing(served: Served) -> None:
    for key in ("wrong", KEY[:-1], f"{KEY}x"):
        assert await served.ask(key) == (401, None)
