"""Programs run before and after a backup; the one after always does."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from backup.adapters.hooks import ProgramHooks
from backup.attempts import Attempt, Attempts
from backup.desk import BackupDesk, TakeOrder, Target
from backup.errors import SourceFailedError
from backup.kinds import Kind
from backup.metrics import HOOKS_AFTER_FAILED
from backup.repository import Repository
from backup.sources.file_tree import FileTreeSource
from backup.sources.tree_rehearsal import TreeRehearsal
from backup.sources.tree_restorer import TreeRestorer
from yaoki.clock import SystemClock
from yaoki.config.backup import BackupHook, BackupHooks, FilesBackup
from yaoki.events.backup import BackupCompleted, BackupFailed
from yaoki.runs.leases import RunLeases
from yaoki.testing.memory import InMemoryKeyValue

if TYPE_CHECKING:
    from pathlib import Path

    from backup.adapters.directory import DirectoryObjectStore
    from backup.pipeline.codec import Identity
    from yaoki.events import Event

START = datetime(2026, 11, 21, 1, 0, tzinfo=UTC)
ORDER = TakeOrder(order_id="o1", by="ann")
REMEMBER = 'echo "$(basename $0) $YAOKI_BACKUP_TARGET $YAOKI_BACKUP_OUTCOME" >> {home}/ran; '


class Bench:
    """A tree, a repository and a desk; `hooked` says what runs around a backup."""

    def __init__(self, home: Path, store: DirectoryObjectStore, identity: Identity) -> None:
        self.home = home
        self.tree = home / "tree"
        self.tree.mkdir()
        self.repository = Repository("main", store, "yaoki")
        self.attempts = Attempts(InMemoryKeyValue(), RunLeases(InMemoryKeyValue()), "a#1")
        self.events: list[Event] = []
        self.recipients = (str(identity.to_public()),)

    async def publish(self, event: Event, **_: object) -> None:
        self.events.append(event)

    def hooked(self, *, before: str = "true", after: str = "true", timeout: float = 60.0) -> Target:
        """A target whose hooks are scripts with this content, after a line that remembers that they ran."""
        hooks = []
        for name, body in (("before", before), ("after", after)):
            script = self.home / name
            script.write_text(f"#!/bin/sh\n{REMEMBER.format(home=self.home)}\n{body}\n", encoding="utf-8")
            script.chmod(0o755)
            hooks.append(BackupHook(argv=(str(script),), timeout=timeout))
        config = FilesBackup(repository="main", root=str(self.tree), hooks=BackupHooks(before=hooks[0], after=hooks[1]))
        kind = Kind(source=FileTreeSource(config.root), rehearsal=TreeRehearsal(), restorer=TreeRestorer(config.root))
        allowed = [hook.argv[0] for hook in hooks]
        hooks_of = ProgramHooks("uploads", config.hooks, allowed)
        return Target(name="uploads", config=config, kind=kind, repository=self.repository, hooks=hooks_of)

    def desk(self, target: Target) -> BackupDesk:
        return BackupDesk(
            {"uploads": target},
            recipients=self.recipients,
            attempts=self.attempts,
            publisher=self,  # type: ignore[arg-type]  # keeps what is published
            clock=SystemClock(),
            instance="a",
        )

    @property
    def ran(self) -> list[str]:
        file = self.home / "ran"
        return file.read_text(encoding="utf-8").splitlines() if file.exists() else []

    def failed(self) -> str:
        (event,) = [event for event in self.events if isinstance(event, BackupFailed)]
        return event.message


@pytest.fixture
def bench(tmp_path: Path, directory_store: DirectoryObjectStore, identity: Identity) -> Bench:
    return Bench(tmp_path, directory_store, identity)


async def test_what_is_prepared_before_is_in_the_backup(bench: Bench) -> None:
    target = bench.hooked(before=f"touch {bench.tree}/prepared", after=f"rm {bench.tree}/prepared")

    manifest = await bench.desk(target).take(target, ORDER)

    assert manifest is not None
    assert {content.name: content.rows for content in manifest.source.contents}["files"] == 1
    assert bench.ran == ["before uploads ", "after uploads completed"]
    assert not list(bench.tree.iterdir())


async def test_no_backup_is_taken_of_what_is_not_prepared(bench: Bench) -> None:
    """And what was prepared half-way is put back."""
    target = bench.hooked(before="exit 3")

    assert await bench.desk(target).take(target, ORDER) is None

    assert "the hook before backups of uploads failed: before ended with status 3" in bench.failed()
    assert bench.ran == ["before uploads ", "after uploads failed"]
    assert (await bench.repository.catalogue()).entries == ()


async def test_a_source_that_fails_is_put_back(bench: Bench) -> None:
    target = bench.hooked(before=f"rm -r {bench.tree}")

    assert await bench.desk(target).take(target, ORDER) is None

    assert bench.ran[-1] == "after uploads failed"


async def test_a_hook_that_hangs_is_killed(bench: Bench) -> None:
    """It would not end by itself within the time that a test has."""
    target = bench.hooked(before="exec sleep 100000", timeout=0.2)

    assert await bench.desk(target).take(target, ORDER) is None

    assert "took longer than 0.2 s and was killed" in bench.failed()


async def test_a_backup_exists_whatever_the_hook_after_it_does(bench: Bench) -> None:
    """It is counted, so that somebody looks."""
    target = bench.hooked(after="exit 1")
    before = HOOKS_AFTER_FAILED.labels("uploads")._value.get()  # noqa: SLF001 - the library has no other way to ask

    assert await bench.desk(target).take(target, ORDER) is not None

    assert [type(event) for event in bench.events][-1] is BackupCompleted
    assert HOOKS_AFTER_FAILED.labels("uploads")._value.get() == before + 1  # noqa: SLF001 - as above


async def test_what_a_dead_process_prepared_is_put_back_by_the_next(bench: Bench) -> None:
    target = bench.hooked()
    dead = Attempt(
        backup_id="20261121t000000z-00000001",
        target="uploads",
        kind="files",
        repository="main",
        instance="dead",
        started_at=START,
    )
    await bench.attempts.begin(dead)

    await bench.desk(target).settle(target)

    assert bench.ran == ["after uploads cancelled"]


async def test_what_is_not_allowed_does_not_run(bench: Bench) -> None:
    """The configuration is refused already; this is for whoever gets around it."""
    target = bench.hooked()
    with pytest.raises(SourceFailedError, match="is not allowed"):
        await ProgramHooks("uploads", target.config.hooks, ["/bin/other"]).before("20261121t000000z-00000001")

    assert bench.ran == []
