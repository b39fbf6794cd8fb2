"""What backups need of the world."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from backup.manifest import Content, SourceFacts
    from backup.stored import StoredBackup


class ObjectInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One stored object as a listing shows it."""

    key: str
    size: int
    modified: datetime


class UnfinishedUpload(msgspec.Struct, frozen=True, kw_only=True):
    """An upload that was begun and neither finished nor aborted.

    Attributes:
        handle: What the store calls it.
        started: When it began, UTC.
    """

    key: str
    handle: str
    started: datetime


class Upload(Protocol):
    """One object in the making. It exists for nobody until `finish`."""

    async def put(self, number: int, offset: int, data: bytes | bytearray) -> None:
        """Store part `number` (from 1), which begins at `offset` of the object. Idempotent; any order; concurrent.

        Raises:
            StoreUnavailableError: Repeat the same call.
            StoreRefusedError: It will not work.
        """
        ...

    async def finish(self, *, parts: int, size: int) -> None:
        """Make the object exist, with all `parts`, `size` bytes together. Returns when it is durable.

        Repeating it after a lost answer succeeds if the object is there.

        Raises:
            StoreUnavailableError: As for `put`.
            StoreRefusedError: What is there has not these parts or this size.
        """
        ...

    async def abort(self) -> None:
        """Leave nothing behind. Aborting twice, or after parts that still arrive, is no error."""
        ...


class ObjectStore(Protocol):
    """Keys with bytes. Nothing that exists is ever overwritten.

    Every method raises StoreUnavailableError where repeating may help and StoreRefusedError where not. A listing is
    complete or it raises: what cannot be listed is unknown, not absent.
    """

    async def begin(self, key: str) -> Upload:
        """Begin an object of unknown length."""
        ...

    async def put_once(self, key: str, body: bytes) -> None:
        """Store a small object that does not exist. The same bytes again are a success.

        Raises:
            ObjectExistsError: Other bytes are there.
        """
        ...

    async def get(self, key: str, *, limit: int) -> bytes:
        """A small object of at most `limit` bytes.

        Raises:
            ObjectMissingError: There is none.
            StoreRefusedError: It is larger.
        """
        ...

    def read(self, key: str) -> AsyncIterator[bytes]:
        """A large object in chunks, resumed by itself after a lost connection.

        Raises:
            ObjectMissingError: There is none.
        """
        ...

    def listing(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        """All finished objects whose key starts with `prefix`, by key."""
        ...

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete objects, any number; what is not there is no error. All are tried before one error is raised.

        Raises:
            ObjectLockedError: The store keeps one of them; names it.
        """
        ...

    def unfinished(self, prefix: str) -> AsyncIterator[UnfinishedUpload]:
        """Uploads below `prefix` that somebody began, this process or another."""
        ...

    async def abandon(self, upload: UnfinishedUpload) -> None:
        """Remove an unfinished upload with all its parts."""
        ...


class Capture(Protocol):
    """One consistent view of a source, open while its streams are read."""

    @property
    def streams(self) -> Sequence[str]:
        """Names of what has to be stored, in order, e.g. `globals`, `data`."""
        ...

    def stream(self, name: str) -> AsyncGenerator[bytes]:
        """The bytes of one stream; close it to stop whoever produces them.

        Raises:
            SourceFailedError: They could not be read to their true end; also after the last byte.
        """
        ...

    async def facts(self) -> SourceFacts:
        """What is known of the content of this very view. Called once, after the streams."""
        ...


class Source(Protocol):
    """Something that can be backed up."""

    @property
    def kind(self) -> str:
        """Of the configuration, e.g. `postgres-logical`."""
        ...

    def capture(self) -> AbstractAsyncContextManager[Capture]:
        """Open a consistent view.

        Raises:
            SourceFailedError: It cannot be opened; names the reason's class.
        """
        ...


class RestoredCopy(Protocol):
    """What a rehearsal has restored, while it exists."""

    async def contents(self) -> tuple[Content, ...]:
        """Counts and fingerprints, taken as those of the manifest were."""
        ...

    async def ask(self, question: str) -> str:
        """The answer to an assertion's question, as text: for a database one value of one SQL query.

        Raises:
            RestoreFailedError: The question cannot be answered.
        """
        ...


class Hooks(Protocol):
    """What runs around each backup of one target."""

    async def before(self, backup_id: str) -> None:
        """Prepare the source.

        Raises:
            SourceFailedError: It is not prepared: no backup is taken.
        """
        ...

    async def after(self, backup_id: str, outcome: str) -> None:
        """Put back what `before` has prepared, also where that failed half-way. May be repeated.

        Args:
            backup_id: As for `before`.
            outcome: `completed`, `failed` or `cancelled`.

        Raises:
            SourceFailedError: It is not put back; the backup is what it is.
        """
        ...


class Rehearsal(Protocol):
    """Restores backups of one kind into a throw-away place, away from everything that is live."""

    def structure(self) -> AbstractAsyncContextManager[Structure]:
        """A reader that takes a backup's main stream and judges its form."""
        ...

    def restored(self, backup: StoredBackup) -> AbstractAsyncContextManager[RestoredCopy]:
        """A restored copy, gone at the end.

        Raises:
            BackupError: It cannot be restored; DamagedError where the backup itself is at fault.
        """
        ...


class Structure(Protocol):
    """Judges the form of a stream that is given piece by piece."""

    @property
    def stream(self) -> str:
        """Which stream it wants."""
        ...

    async def take(self, chunk: bytes) -> None:
        """The next piece."""
        ...

    async def judge(self) -> None:
        """All has been given.

        Raises:
            DamagedError: It is not what its kind says; stage structure.
        """
        ...
