"""What one kind of target needs: how it is read, rehearsed and restored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from backup.manifest import Content
    from backup.ports import Rehearsal, Source
    from backup.stored import StoredBackup


class RestoreChoices(msgspec.Struct, frozen=True, kw_only=True):
    """What of a complete backup is restored."""

    owners: bool = True
    privileges: bool = True


class Restorer(Protocol):
    """Restores backups of one target beside what is live. Every method may be repeated after a crash."""

    @property
    def swaps(self) -> bool:
        """Whether the copy can take the place of what is live."""
        ...

    def into(self, identity: str) -> str:
        """Where the restore with this identity puts its copy."""
        ...

    async def restore(self, backup: StoredBackup, identity: str, choices: RestoreChoices) -> None:
        """Make the copy; what an earlier attempt of this identity left is removed first.

        Raises:
            BackupError: There is no copy; what is live is untouched.
        """
        ...

    async def contents(self, backup: StoredBackup, identity: str) -> tuple[Content, ...]:
        """Counts and fingerprints of the copy, taken as those of the manifest were."""
        ...

    async def swap(self, identity: str) -> str:
        """Put the copy in the place of what is live; returns the name that the live one has now.

        Raises:
            BackupError: Nothing was exchanged.
        """
        ...

    async def swapped(self, identity: str) -> str:
        """The name of what was live if this copy has taken its place already; empty otherwise."""
        ...

    async def discard(self, identity: str) -> None:
        """Remove the copy."""
        ...


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One target, ready to work with."""

    source: Source
    rehearsal: Rehearsal
    restorer: Restorer
