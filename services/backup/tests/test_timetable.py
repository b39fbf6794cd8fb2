"""Schedules order once, overlaps are skipped and said, retention deletes what no rule keeps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
import pytest
from backup.adapters.hooks import ProgramHooks
from backup.attempts import Attempt, Attempts
from backup.desk import BackupDesk, TakeOrder, Target
from backup.kinds import Kind
from backup.repository import Repository
from backup.sources.file_tree import FileTreeSource
from backup.sources.tree_rehearsal import TreeRehearsal
from backup.sources.tree_restorer import TreeRestorer
from backup.timetable import Timetable
from yaoki.commands.backup import TakeBackup
from yaoki.config.backup import BackupSchedule, BackupSection, FilesBackup, Keep
from yaoki.errors import ConflictError
from yaoki.events.backup import BackupCompleted, BackupExpired, BackupSkipped, BackupStarted
from yaoki.runs.leases import RunLeases
from yaoki.testing.memory import InMemoryKeyValue

from .backups import manifest

if TYPE_CHECKING:
    from pathlib import Path

    from backup.adapters.directory import DirectoryObjectStore
    from backup.pipeline.codec import Identity
    from yaoki.commands.base import Request
    from yaoki.events import Event

START = datetime(2026, 11, 21, 1, 0, tzinfo=UTC)


class Clock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.time = START

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()

    async def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class Said:
    """What was published and ordered, by id."""

    def __init__(self) -> None:
        self.events: dict[str, Event] = {}
        self.orders: dict[str, Request] = {}

    async def publish(self, event: Event, *, event_id: str | None = None, **_: object) -> None:
        self.events.setdefault(event_id or "", event)

    async def order(self, request: Request, *, message_id: str) -> None:
        self.orders.setdefault(message_id, request)


class Instance:
    """One process of the service; several share store, catalog and what is said."""

    def __init__(self, world: World, name: str) -> None:
        self.attempts = Attempts(world.catalog, RunLeases(world.leases), f"{name}#1")
        self.desk = BackupDesk(
            {"uploads": world.target},
            recipients=world.recipients,
            attempts=self.attempts,
            publisher=world.said,  # type: ignore[arg-type]  # keeps what is published
            clock=world.clock,
            instance=name,
        )
        section = BackupSection(
            schedules={"nightly": BackupSchedule(targets=("uploads",), cron="0 2 * * *", time_zone="UTC")}
        )
        self.timetable = Timetable(
            section,
            {"uploads": world.target},
            zone="UTC",
            desk=self.desk,
            attempts=self.attempts,
            orders=world.said,  # type: ignore[arg-type]  # keeps what is ordered
            publisher=world.said,  # type: ignore[arg-type]  # as above
            catalog=world.catalog,
            clock=world.clock,
            tell_zone=lambda _target: "UTC",
        )


class World:
    """A tree to back up, a repository, and what instances share."""

    def __init__(self, tree: Path, store: DirectoryObjectStore, identity: Identity, keep: Keep) -> None:
        self.clock = Clock()
        self.said = Said()
        self.catalog = InMemoryKeyValue()
        self.leases = InMemoryKeyValue()
        self.recipients = (str(identity.to_public()),)
        self.repository = Repository("main", store, "yaoki")
        kind = Kind(source=FileTreeSource(str(tree)), rehearsal=TreeRehearsal(), restorer=TreeRestorer(str(tree)))
        config = FilesBackup(repository="main", root=str(tree), keep=keep)
        hooks = ProgramHooks("uploads", config.hooks, ())
        self.target = Target(name="uploads", config=config, kind=kind, repository=self.repository, hooks=hooks)

    def told(self) -> list[str]:
        return [type(event).__name__ for event in self.said.events.values()]


@pytest.fixture
def world(tmp_path: Path, directory_store: DirectoryObjectStore, identity: Identity) -> World:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_text("content", encoding="utf-8")
    return World(tree, directory_store, identity, Keep(last=1, hourly=0, daily=0, weekly=0, monthly=0))


async def test_a_schedule_orders_once_however_many_look(world: World) -> None:
    """The first that sees it has missed nothing; missed nights are made up by one order."""
    first, second = Instance(world, "a"), Instance(world, "b")
    assert await first.timetable.look("nightly") == ()
    world.clock.time += timedelta(days=3)

    ordered = [await one.timetable.look("nightly") for one in (first, second, first)]

    assert ordered == [("nightly-uploads-20261123t0200z",), (), ()]
    assert list(world.said.orders.values()) == [
        TakeBackup(
            target="uploads", by="schedule nightly", schedule="nightly", order_id="nightly-uploads-20261123t0200z"
        )
    ]


async def test_two_that_look_at_the_same_moment_order_the_same(world: World) -> None:
    """One loses the compare-and-set after it has ordered under the same id."""
    first, second = Instance(world, "a"), Instance(world, "b")
    await first.timetable.look("nightly")
    world.clock.time += timedelta(days=1)
    get = world.catalog.get

    async def interrupted(key: str) -> object:
        entry = await get(key)
        world.catalog.get = get  # type: ignore[method-assign]  # the second looks in between
        await second.timetable.look("nightly")
        return entry

    world.catalog.get = interrupted  # type: ignore[method-assign,assignment]  # as above
    with pytest.raises(ConflictError):
        await first.timetable.look("nightly")

    assert len(world.said.orders) == 1


async def test_the_same_order_takes_one_backup(world: World) -> None:
    """It is delivered again because its acknowledgement was lost."""
    order = TakeOrder(order_id="o1", by="ann")

    taken = [await Instance(world, name).desk.take(world.target, order) for name in ("a", "b")]

    assert taken[0] is not None
    assert taken[0] == taken[1]
    assert world.told() == ["BackupStarted", "BackupCompleted"]


async def test_an_overlap_is_skipped_and_said(world: World) -> None:
    """The one before is still being taken."""
    slow, other = Instance(world, "a"), Instance(world, "b")
    attempt = Attempt(
        backup_id="20261121t010000z-00000001",
        target="uploads",
        kind="files",
        repository="main",
        instance="a",
        started_at=START,
    )
    async with slow.attempts.on("uploads") as mine:
        assert mine
        await slow.attempts.begin(attempt)

        assert await other.desk.take(world.target, TakeOrder(order_id="o2", schedule="nightly", due_at=START)) is None
        assert await other.attempts.busy("uploads")

    (event,) = world.said.events.values()
    assert isinstance(event, BackupSkipped)
    assert (event.backup_id, event.schedule, event.due_at) == (attempt.backup_id, "nightly", START)


async def test_what_a_dead_process_left_is_said_before_the_next_begins(world: World) -> None:
    """Its lease has lapsed; its record has not."""
    dead = Attempt(
        backup_id="20261121t000000z-00000001",
        target="uploads",
        kind="files",
        repository="main",
        instance="dead",
        started_at=START,
    )
    directory = world.repository.directory(target="uploads", kind="files", backup_id=dead.backup_id)
    await world.repository.store.put_once(f"{directory}/data.000", b"half")
    await Instance(world, "dead").attempts.begin(dead)

    await Instance(world, "a").timetable.settle()
    await Instance(world, "a").desk.take(world.target, TakeOrder(order_id="o1"))

    assert world.told() == ["BackupFailed", "BackupStarted", "BackupCompleted"]
    assert not [item async for item in world.repository.store.listing(f"{directory}/")]


async def test_what_no_rule_keeps_is_deleted_and_said(world: World) -> None:
    """And what somebody works on is left alone."""
    instance = Instance(world, "a")
    for number in (1, 2, 3):
        old = msgspec.structs.replace(manifest(START - timedelta(days=number), salt=number), target="uploads")
        await world.repository.store.put_once(f"{world.repository.directory_of(old)}/data.000", b"bytes")
        await world.repository.publish(old)
    async with Instance(world, "b").attempts.on("uploads"):
        await instance.timetable.tidy(world.target)
        assert len((await world.repository.catalogue()).entries) == 3

    await instance.timetable.tidy(world.target)
    await instance.timetable.tidy(world.target)

    (left,) = (await world.repository.catalogue()).entries
    assert left.manifest.source.consistent_at == START - timedelta(days=1)
    expired = [event for event in world.said.events.values() if isinstance(event, BackupExpired)]
    assert len(expired) == 2
    assert not [event for event in world.said.events.values() if isinstance(event, BackupStarted | BackupCompleted)]
