"""A member that is not in line with the primary is brought back, never started as it is."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from yaoki.epoch import Epoch
from yaoki.testing import eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from .conftest import Guarded

    StartCluster = Callable[..., AbstractAsyncContextManager[Guarded]]

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]


async def diverged(guarded: Guarded) -> None:
    """pg-a dies with a commit that pg-b never saw, and pg-b becomes primary."""
    await guarded.nodes["pg-a"].psql("CREATE TABLE history (what text)", database="app")
    await eventually(lambda: _has_table(guarded, "pg-b"), within=10)
    guarded.agents["pg-b"].kill()
    await guarded.nodes["pg-b"].kill()
    await guarded.nodes["pg-a"].psql("INSERT INTO history VALUES ('lost')", database="app")
    guarded.agents["pg-a"].kill()
    await guarded.nodes["pg-a"].kill()
    guarded.agents["pg-b"].start()
    await eventually(lambda: guarded.answers("pg-b"), within=20)
    outcome = await guarded.failover("pg-b", Epoch(1, 1))
    assert outcome.status == "succeeded", outcome
    assert await guarded.nodes["pg-b"].psql("SELECT count(*) FROM history", database="app") == "0"
    await guarded.nodes["pg-b"].psql("INSERT INTO history VALUES ('kept')", database="app")


async def _has_table(guarded: Guarded, member: str) -> bool:
    return await guarded.nodes[member].psql("SELECT to_regclass('history') IS NOT NULL", database="app") == "t"


async def history(guarded: Guarded, member: str) -> str:
    return await guarded.nodes[member].psql("SELECT string_agg(what, ',') FROM history", database="app")


async def test_a_diverged_primary_is_rewound(pair: Guarded) -> None:
    """It follows the new primary, and its own last commit is gone."""
    await diverged(pair)
    pair.agents["pg-a"].start()
    await eventually(lambda: pair.streams("pg-a"), within=40)
    await eventually(lambda: _is(pair, "kept"), within=10)
    directory = pair.nodes["pg-a"].data_dir.parent
    assert not list(directory.glob("data.quarantine-*"))


async def test_what_cannot_be_rewound_is_put_aside_and_cloned(pair: Guarded) -> None:
    """pg_rewind fails: the old directory is quarantined, unstarted, and a fresh clone takes its place."""
    await diverged(pair)
    data = pair.nodes["pg-a"].data_dir
    (data / "global" / "pg_filenode.map").unlink()
    (data / "backup_label").write_text("no label\n", encoding="utf-8")
    pair.agents["pg-a"].start()
    await eventually(lambda: pair.streams("pg-a"), within=60)
    await eventually(lambda: _is(pair, "kept"), within=10)
    assert len(list(data.parent.glob("data.quarantine-*"))) == 1


async def test_two_histories_of_one_timeline_are_told_apart(start_cluster: StartCluster) -> None:
    """Two standbys were promoted to the same timeline, one after the other: the first has to be cloned.

    pg_rewind would find equal numbers, change nothing, and let it follow on top of commits that nobody else has.
    """
    async with start_cluster(standbys=2) as guarded:
        await guarded.nodes["pg-a"].psql("CREATE TABLE history (what text)", database="app")
        for member in ("pg-b", "pg-c"):
            await eventually(partial(_has_table, guarded, member), within=10)
        for member in ("pg-c", "pg-a"):
            guarded.agents[member].kill()
            await guarded.nodes[member].kill()
        assert (await guarded.failover("pg-b", Epoch(1, 1))).result["timeline"] == 2
        await guarded.nodes["pg-b"].psql("INSERT INTO history VALUES ('lost')", database="app")
        guarded.agents["pg-b"].kill()
        await guarded.nodes["pg-b"].kill()
        guarded.agents["pg-c"].start()
        await eventually(lambda: guarded.answers("pg-c"), within=20)
        assert (await guarded.failover("pg-c", Epoch(1, 2))).result["timeline"] == 2
        await guarded.nodes["pg-c"].psql("INSERT INTO history VALUES ('kept')", database="app")

        guarded.agents["pg-b"].start()
        await eventually(lambda: guarded.streams("pg-b"), within=60)

        assert await history(guarded, "pg-b") == "kept"


async def _is(guarded: Guarded, expected: str) -> bool:
    return await history(guarded, "pg-a") == expected


async def test_a_lost_directory_is_cloned(start_cluster: StartCluster) -> None:
    """A standby whose data is gone comes back as a clone of the holder."""
    async with start_cluster() as guarded:
        guarded.agents["pg-b"].kill()
        await guarded.nodes["pg-b"].kill()
        guarded.nodes["pg-b"].data_dir.rename(guarded.nodes["pg-b"].data_dir.with_name("lost"))
        guarded.agents["pg-b"].start()
        await eventually(lambda: guarded.streams("pg-b"), within=60)
