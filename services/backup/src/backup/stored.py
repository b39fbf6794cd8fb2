"""One backup as it lies in a repository, with the keys to read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backup.pipeline.unsealing import check_stored, unseal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from backup.manifest import Manifest
    from backup.pipeline.codec import Identity
    from backup.repository import Repository


class StoredBackup:
    """A backup that can be read.

    Args:
        repository: Where it lies.
        manifest: Which one.
        identities: Private keys, one of which fits.
    """

    def __init__(self, repository: Repository, manifest: Manifest, identities: list[Identity]) -> None:
        self._repository = repository
        self.manifest = manifest
        self._identities = identities

    async def feed(self, name: str, consume: Callable[[bytes], Awaitable[None]]) -> None:
        """Give the plain bytes of a stream to `consume`; see `unseal`."""
        directory = self._repository.directory_of(self.manifest)
        stream = self.manifest.stream(name)
        await unseal(self._repository.store, directory, stream, self._identities, consume)

    async def check_stored(self) -> None:
        """Compare every stored object with the manifest; needs no key. See `pipeline.unsealing.check_stored`."""
        for stream in self.manifest.streams:
            await check_stored(self._repository.store, self._repository.directory_of(self.manifest), stream)
