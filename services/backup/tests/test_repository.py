"""A backup exists when its manifest does; the store alone is the truth."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
import pytest
import pytest_asyncio
from backup.errors import ObjectExistsError, StoreRefusedError
from backup.repository import Repository

from .backups import START, manifest, record

if TYPE_CHECKING:
    from backup.manifest import Manifest
    from backup.ports import ObjectStore

pytestmark = pytest.mark.real

HOUR = timedelta(hours=1)


@pytest_asyncio.fixture
async def repository(store: ObjectStore) -> Repository:
    """With what others keep in the same store."""
    await store.put_once("others/orders/files/20261101t020000z-00000001/manifest.json", b"not ours")
    await store.put_once("yaoki/orders/notes.txt", b"no backup")
    return Repository("main", store, "yaoki")


async def put(repository: Repository, backup: Manifest) -> None:
    """Store a whole backup."""
    await repository.store.put_once(f"{repository.directory_of(backup)}/data.000", b"bytes")
    await repository.publish(backup)


async def keys(repository: Repository) -> list[str]:
    return [item.key async for item in repository.store.listing("yaoki/")]


async def test_a_backup_without_a_manifest_does_not_exist(repository: Repository) -> None:
    backup = manifest()
    await repository.store.put_once(f"{repository.directory_of(backup)}/data.000", b"bytes")
    assert (await repository.catalogue()).entries == ()

    await repository.publish(backup)

    assert [entry.manifest for entry in (await repository.catalogue()).entries] == [backup]


async def test_a_manifest_is_written_once(repository: Repository) -> None:
    """Publishing again after a lost answer is a success; another manifest of this identity is refused."""
    backup = manifest()
    await repository.publish(backup)
    await repository.publish(backup)

    with pytest.raises(ObjectExistsError):
        await repository.publish(msgspec.structs.replace(backup, workspace="another"))


async def test_the_store_alone_gives_the_catalogue(repository: Repository) -> None:
    """A process that knows nothing finds every backup, by the moment that each shows, with its verifications."""
    older, newer, other = manifest(), manifest(START + HOUR, salt=2), manifest(START, target="users", salt=3)
    for backup in (newer, older, other):
        await put(repository, backup)
    failed = record(older, START + 2 * HOUR, passed=False)
    proven = record(older, START + 3 * HOUR)
    for one in (proven, failed):
        await repository.record(older, one)

    found = await Repository("main", repository.store, "yaoki").catalogue()

    assert [entry.manifest for entry in found.entries] == [older, other, newer]
    assert found.problems == ()
    assert found.entries[0].records == (failed, proven)
    assert found.entries[0].verified_at == proven.verified_at
    assert [entry.manifest for entry in found.of("users")] == [other]
    assert [entry.manifest for entry in (await repository.catalogue("users")).entries] == [other]


def test_the_newest_conclusive_verification_counts() -> None:
    """One that could not be carried out says nothing about the backup."""
    from backup.repository import Entry  # noqa: PLC0415 - used here only

    backup = manifest()
    good, bad = record(backup, START), record(backup, START + HOUR, passed=False)
    unknown = record(backup, START + 2 * HOUR, passed=False, conclusive=False)

    assert Entry(manifest=backup, records=(good, unknown)).verified_at == START
    assert Entry(manifest=backup, records=(good, bad, unknown)).verified_at is None
    assert Entry(manifest=backup, records=(good, bad, unknown)).broken
    assert not Entry(manifest=backup, records=(unknown,)).broken


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff", b'{"format": 1}', msgspec.json.encode(msgspec.structs.replace(manifest(), format=2))],
)
async def test_what_looks_like_a_backup_and_is_none_is_named(repository: Repository, body: bytes) -> None:
    """It hides no other backup, and is not silently left out."""
    whole, broken = manifest(), manifest(START + HOUR, salt=2)
    await put(repository, whole)
    await repository.store.put_once(f"{repository.directory_of(broken)}/manifest.json", body)

    found = await repository.catalogue()

    assert [entry.manifest for entry in found.entries] == [whole]
    assert len(found.problems) == 1
    assert broken.backup_id in found.problems[0]


async def test_a_manifest_in_another_backups_place_is_no_backup(repository: Repository) -> None:
    """Its objects would not be those that it names."""
    backup, place = manifest(), manifest(START + HOUR, salt=2)
    await repository.store.put_once(f"{repository.directory_of(place)}/manifest.json", msgspec.json.encode(backup))

    found = await repository.catalogue()

    assert found.entries == ()
    assert place.backup_id in found.problems[0]


async def test_a_removed_backup_ceases_to_exist_with_its_manifest(repository: Repository) -> None:
    """However it is interrupted after that, nobody takes the rest for a backup; repeating it finishes it."""
    backup, kept = manifest(), manifest(START + HOUR, salt=2)
    await put(repository, backup)
    await put(repository, kept)
    await repository.record(backup, record(backup, START))
    entry = (await repository.catalogue()).entries[0]
    order: list[list[str]] = []
    delete = repository.store.delete

    async def watched(keys: list[str]) -> None:
        order.append(list(keys))
        await delete(keys)

    repository.store.delete = watched  # type: ignore[method-assign,assignment]  # the order of calls is looked at
    await repository.remove(entry)
    await repository.remove(entry)

    assert order[0] == [f"{repository.directory_of(backup)}/manifest.json"]
    assert [entry.manifest for entry in (await repository.catalogue()).entries] == [kept]
    assert not [key for key in await keys(repository) if backup.backup_id in key]


async def test_what_interrupted_backups_left_is_swept(repository: Repository) -> None:
    """Not what is young, what somebody works on, what exists, or what belongs to others."""
    whole, orphan, alive = manifest(), manifest(START, salt=2), manifest(START, salt=3)
    await put(repository, whole)
    for backup in (orphan, alive):
        await repository.store.put_once(f"{repository.directory_of(backup)}/data.000", b"bytes")
        await (await repository.store.begin(f"{repository.directory_of(backup)}/data.001")).put(1, 0, b"x")
    await (await repository.store.begin("others/upload")).put(1, 0, b"x")
    before = await keys(repository)
    now = datetime.now(UTC)

    assert await repository.sweep(before=now - HOUR, alive=[alive.backup_id]) == ()
    assert await keys(repository) == before

    removed = await repository.sweep(before=now + HOUR, alive=[alive.backup_id])

    directory = repository.directory_of(orphan)
    assert sorted(removed) == [f"{directory}/data.000", f"{directory}/data.001"]
    assert await keys(repository) == [key for key in before if orphan.backup_id not in key]
    left = [item.key async for item in repository.store.unfinished("")]
    assert sorted(left) == ["others/upload", f"{repository.directory_of(alive)}/data.001"]


async def test_a_store_that_cannot_be_listed_is_not_empty(repository: Repository) -> None:
    """Unknown is raised, never answered with nothing."""

    def refuse(_prefix: str) -> None:
        raise StoreRefusedError("403", advice="-")

    repository.store.listing = refuse  # type: ignore[method-assign,assignment]  # a store that refuses

    with pytest.raises(StoreRefusedError):
        await repository.catalogue()
