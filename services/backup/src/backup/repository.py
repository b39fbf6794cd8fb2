"""Backups in an object store: where they lie, how they come to exist, and how they cease to.

    <prefix>/<target>/<kind>/<backup id>/data.000 ... manifest.json
    <prefix>/<target>/<kind>/<backup id>/verify/<time>.json

**A backup exists from the moment its manifest does until the moment it does not.** The manifest is written last and
once, and removed first; everything without one is garbage that is swept when nobody works on it any more. The store
alone is the truth: whoever can list it knows every backup.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec
from yaoki.events.backup import VerificationStage

from backup.errors import DamagedError, ObjectMissingError
from backup.manifest import MOST_BYTES, Manifest, VerifyRecord, decode_manifest, is_backup_id
from backup.together import together

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from datetime import datetime

    from backup.ports import ObjectInfo, ObjectStore

MANIFEST: Final = "manifest.json"
_VERIFY: Final = "verify"
_RECORD_BYTES: Final = 1 << 20
_READERS: Final = 4
_DEPTH: Final = 4


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a key lies."""

    target: str
    kind: str
    backup_id: str
    rest: str


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One backup that exists.

    Attributes:
        records: Of its verifications, oldest first.
    """

    manifest: Manifest
    records: tuple[VerifyRecord, ...] = ()

    @property
    def verified_at(self) -> datetime | None:
        """When it was last proven; None when never, or when a later verification found it broken."""
        judged = [record for record in self.records if record.conclusive]
        return judged[-1].verified_at if judged and judged[-1].passed else None

    @property
    def broken(self) -> bool:
        """Its newest conclusive verification failed."""
        judged = [record for record in self.records if record.conclusive]
        return bool(judged) and not judged[-1].passed


class Catalogue(msgspec.Struct, frozen=True, kw_only=True):
    """Every backup of a repository.

    Attributes:
        entries: Oldest first, by the moment that each shows.
        problems: What looks like a backup and cannot be read, one sentence each.
        stored_size: Bytes of everything below the prefix, garbage included.
    """

    entries: tuple[Entry, ...]
    problems: tuple[str, ...] = ()
    stored_size: int = 0

    def of(self, target: str) -> tuple[Entry, ...]:
        """The backups of one target, oldest first."""
        return tuple(entry for entry in self.entries if entry.manifest.target == target)

    def find(self, backup_id: str) -> Entry | None:
        """The backup with this identity."""
        return next((entry for entry in self.entries if entry.manifest.backup_id == backup_id), None)


class Repository:
    """The backups below one prefix of one store.

    Args:
        name: Of the configuration.
        store: Where the objects are.
        prefix: First part of every key; may be empty, has no slash at its ends.
    """

    def __init__(self, name: str, store: ObjectStore, prefix: str = "") -> None:
        self.name = name
        self.store = store
        self._root = f"{prefix}/" if prefix else ""
        # What is written once need not be read twice.
        self._read: dict[str, bytes] = {}

    def directory(self, *, target: str, kind: str, backup_id: str) -> str:
        """Key of a backup, without a slash at the end."""
        return f"{self._root}{target}/{kind}/{backup_id}"

    def directory_of(self, manifest: Manifest) -> str:
        """As `directory`, of a backup that exists."""
        return self.directory(target=manifest.target, kind=manifest.kind, backup_id=manifest.backup_id)

    async def publish(self, manifest: Manifest) -> None:
        """Make a backup exist. All its objects must be finished; from here on it counts.

        Raises:
            ObjectExistsError: There is a backup of this identity with another manifest.
        """
        body = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
        await self.store.put_once(f"{self.directory_of(manifest)}/{MANIFEST}", body)

    async def record(self, manifest: Manifest, record: VerifyRecord) -> None:
        """Keep what a verification found, beside the manifest that it belongs to."""
        name = f"{record.verified_at:%Y%m%dt%H%M%S.%f}z.json"
        await self.store.put_once(f"{self.directory_of(manifest)}/{_VERIFY}/{name}", msgspec.json.encode(record))

    async def catalogue(self, target: str = "") -> Catalogue:
        """Everything there is; of one target only when it is named.

        Raises:
            BackupError: The store cannot be listed or read completely; then nothing is known.
        """
        prefix = f"{self._root}{target}/" if target else self._root
        manifests: list[str] = []
        records: dict[str, list[str]] = {}
        size = 0
        async for item in self.store.listing(prefix):
            size += item.size
            place = self.place(item.key)
            if place is None:
                continue
            directory = item.key.removesuffix(f"/{place.rest}")
            if place.rest == MANIFEST:
                manifests.append(item.key)
            elif place.rest.startswith(f"{_VERIFY}/"):
                records.setdefault(directory, []).append(item.key)
        known = {key: [*records.get(key.removesuffix(f"/{MANIFEST}"), ())] for key in manifests}
        bodies = await self._bodies([key for manifest, others in known.items() for key in (manifest, *others)])
        return _catalogue(known, bodies, self, size)

    async def remove(self, entry: Entry) -> int:
        """Delete a backup; returns the bytes that this frees. May be repeated after it was interrupted.

        Raises:
            ObjectLockedError: The store keeps a part of it.
        """
        directory = self.directory_of(entry.manifest)
        await self.store.delete([f"{directory}/{MANIFEST}"])
        rest = [item async for item in self.store.listing(f"{directory}/")]
        await self.store.delete([item.key for item in rest])
        return entry.manifest.stored_size

    async def sweep(self, *, before: datetime, alive: Collection[str] = ()) -> tuple[str, ...]:
        """Remove what interrupted backups left: unfinished uploads, and objects without a manifest.

        Args:
            before: Only what is older; longer ago than a backup takes.
            alive: Identities of backups that somebody works on, however old.

        Returns:
            Keys of what was removed.
        """
        removed: list[str] = []
        async for upload in self.store.unfinished(self._root):
            if upload.started < before and self._is_free(upload.key, alive):
                await self.store.abandon(upload)
                removed.append(upload.key)
        orphans = await self._orphans(before, alive)
        await self.store.delete(orphans)
        return (*removed, *orphans)

    async def clear(self, *, target: str, kind: str, backup_id: str) -> bool:
        """Remove what a backup left that was interrupted and that nobody works on any more.

        Returns:
            Whether it was removed; False when the backup exists, and nothing was touched.
        """
        directory = self.directory(target=target, kind=kind, backup_id=backup_id)
        keys = [item.key async for item in self.store.listing(f"{directory}/")]
        if f"{directory}/{MANIFEST}" in keys:
            return False
        for upload in [upload async for upload in self.store.unfinished(f"{directory}/")]:
            await self.store.abandon(upload)
        await self.store.delete(keys)
        return True

    def place(self, key: str) -> Place | None:
        """What a key says; None for one that is none of ours."""
        if not key.startswith(self._root):
            return None
        parts = key[len(self._root) :].split("/", _DEPTH - 1)
        if len(parts) < _DEPTH or not is_backup_id(parts[2]):
            return None
        return Place(target=parts[0], kind=parts[1], backup_id=parts[2], rest=parts[3])

    async def _orphans(self, before: datetime, alive: Collection[str]) -> list[str]:
        directories: dict[str, list[ObjectInfo]] = {}
        async for item in self.store.listing(self._root):
            place = self.place(item.key)
            if place is not None and place.backup_id not in alive:
                directories.setdefault(item.key.removesuffix(f"/{place.rest}"), []).append(item)
        return [
            item.key
            for directory, items in directories.items()
            if f"{directory}/{MANIFEST}" not in {item.key for item in items}
            and all(item.modified < before for item in items)
            for item in items
        ]

    def _is_free(self, key: str, alive: Collection[str]) -> bool:
        place = self.place(key)
        return place is not None and place.backup_id not in alive

    async def _bodies(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Contents of small objects, several at a time; what went away meanwhile is left out."""
        gate = asyncio.Semaphore(_READERS)

        async def read(key: str) -> None:
            limit = MOST_BYTES if key.endswith(MANIFEST) else _RECORD_BYTES
            async with gate:
                with suppress(ObjectMissingError):  # expired since it was listed
                    self._read[key] = await self.store.get(key, limit=limit)

        wanted = list(keys)
        self._read = {key: self._read[key] for key in wanted if key in self._read}
        await together(*(read(key) for key in wanted if key not in self._read))
        return self._read


def _catalogue(known: dict[str, list[str]], bodies: dict[str, bytes], repository: Repository, size: int) -> Catalogue:
    entries: list[Entry] = []
    problems: list[str] = []
    for key, others in known.items():
        if key not in bodies:
            continue
        try:
            manifest = _manifest(bodies[key], key, repository)
        except DamagedError as error:
            problems.append(error.message)
            continue
        records = []
        for other in sorted(others):
            try:
                records.append(_record(bodies[other], other))
            except (DamagedError, KeyError) as error:
                problems.append(str(error))
        entries.append(Entry(manifest=manifest, records=tuple(records)))
    entries.sort(key=lambda entry: (entry.manifest.source.consistent_at, entry.manifest.backup_id))
    return Catalogue(entries=tuple(entries), problems=tuple(problems), stored_size=size)


def _manifest(body: bytes, key: str, repository: Repository) -> Manifest:
    manifest = decode_manifest(body, key)
    if f"{repository.directory_of(manifest)}/{MANIFEST}" != key:
        raise DamagedError(
            f"{key} is the manifest of {manifest.target}/{manifest.kind}/{manifest.backup_id}",
            advice="Move the backup to where its manifest says it is.",
            stage=VerificationStage.STORED_BYTES,
        )
    return manifest


def _record(body: bytes, key: str) -> VerifyRecord:
    try:
        return msgspec.json.decode(body, type=VerifyRecord)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise DamagedError(
            f"{key} is no record of a verification that can be read",
            advice="Verify the backup again and remove the object.",
            stage=VerificationStage.STORED_BYTES,
        ) from None
