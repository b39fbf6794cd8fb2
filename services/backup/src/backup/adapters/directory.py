"""Objects as files below a directory: a disk of this host, or a mounted one."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from yaoki.events.backup import BackupFailureClass

from backup.errors import (
    BackupError,
    ObjectExistsError,
    ObjectLockedError,
    ObjectMissingError,
    StoreRefusedError,
    StoreUnavailableError,
)
from backup.ports import ObjectInfo, UnfinishedUpload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

_UNFINISHED: Final = ".unfinished"
_CHUNK: Final = 1 << 20
_PAGE: Final = 1_000
_PRIVATE: Final = 0o700
_READABLE: Final = 0o600


class DirectoryObjectStore:
    """See `ports.ObjectStore`. An object is a file; one in the making has the ending `.unfinished` until it is whole.

    Args:
        root: Has to exist: a disk that is not mounted must look neither empty nor writable.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    async def begin(self, key: str) -> DirectoryUpload:
        """See `ObjectStore.begin`."""
        path = self._path(key)
        self._expect_root()
        return await asyncio.to_thread(DirectoryUpload.open, path, key)

    async def put_once(self, key: str, body: bytes) -> None:
        """See `ObjectStore.put_once`: written beside, then linked, which fails where something is."""
        await asyncio.to_thread(self._put_once, key, body)

    async def get(self, key: str, *, limit: int) -> bytes:
        """See `ObjectStore.get`."""
        return await asyncio.to_thread(self._get, key, limit)

    async def read(self, key: str) -> AsyncIterator[bytes]:
        """See `ObjectStore.read`."""
        with _translated(key):
            file = await asyncio.to_thread(self._path(key).open, "rb")
        try:
            while True:
                with _translated(key):
                    chunk = await asyncio.to_thread(file.read, _CHUNK)
                if not chunk:
                    return
                yield chunk
        finally:
            file.close()

    async def listing(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        """See `ObjectStore.listing`."""
        for key, info in await asyncio.to_thread(self._files, prefix):
            if not key.endswith(_UNFINISHED):
                yield ObjectInfo(key=key, size=info.st_size, modified=_moment(info.st_mtime))

    async def delete(self, keys: Sequence[str]) -> None:
        """See `ObjectStore.delete`."""
        for start in range(0, len(keys), _PAGE):
            await asyncio.to_thread(self._delete, keys[start : start + _PAGE])

    async def unfinished(self, prefix: str) -> AsyncIterator[UnfinishedUpload]:
        """See `ObjectStore.unfinished`."""
        for key, info in await asyncio.to_thread(self._files, prefix):
            if key.endswith(_UNFINISHED):
                name = key.removesuffix(_UNFINISHED)
                yield UnfinishedUpload(key=name, handle=key, started=_moment(info.st_mtime))

    async def abandon(self, upload: UnfinishedUpload) -> None:
        """See `ObjectStore.abandon`."""
        await self.delete([upload.handle])

    def _path(self, key: str) -> Path:
        parts = PurePosixPath(key).parts
        if not parts or ".." in parts or key.startswith("/"):
            raise StoreRefusedError(f"key {key!r} leads out of the repository", advice="Use names without '..'.")
        return self._root.joinpath(*parts)

    def _expect_root(self) -> None:
        if not self._root.is_dir():
            raise StoreRefusedError(
                f"the repository's directory {self._root} is not there",
                advice="Mount its disk, or create the directory if this is a new repository.",
            )

    def _put_once(self, key: str, body: bytes) -> None:
        path = self._path(key)
        self._expect_root()
        beside = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}{_UNFINISHED}")
        with _translated(key):
            path.parent.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
            try:
                with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _READABLE), "wb") as file:  # noqa: PTH123 - the descriptor carries the mode
                    file.write(body)
                    file.flush()
                    os.fsync(file.fileno())
                _link_once(beside, path, key, body)
                _sync_directories(path.parent, self._root)
            finally:
                beside.unlink(missing_ok=True)

    def _get(self, key: str, limit: int) -> bytes:
        with _translated(key), self._path(key).open("rb") as file:
            body = file.read(limit + 1)
        if len(body) > limit:
            raise StoreRefusedError(
                f"object {key} has more than the expected {limit} bytes",
                advice="Look at the object: it is not what its name says.",
            )
        return body

    def _files(self, prefix: str) -> list[tuple[str, os.stat_result]]:
        found = []
        self._expect_root()
        with _translated(prefix or str(self._root)):
            for directory, _, names in os.walk(self._root, onerror=_raise):
                for name in names:
                    path = Path(directory, name)
                    key = path.relative_to(self._root).as_posix()
                    if key.startswith(prefix):
                        with suppress(FileNotFoundError):  # removed since
                            found.append((key, path.stat()))
        return sorted(found, key=lambda item: item[0])

    def _delete(self, keys: Sequence[str]) -> None:
        failed: BackupError | None = None
        for key in keys:
            try:
                with _translated(key):
                    path = self._path(key)
                    path.unlink(missing_ok=True)
                    _remove_empty(path.parent, self._root)
            except BackupError as error:
                failed = failed or error
        if failed is not None:
            raise failed


class DirectoryUpload:
    """See `ports.Upload`."""

    def __init__(self, path: Path, key: str, descriptor: int) -> None:
        self._path = path
        self._key = key
        self._descriptor: int | None = descriptor
        # A write that a cancelled backup left behind must not meet the closed, perhaps reused, descriptor.
        self._lock = threading.Lock()

    @classmethod
    def open(cls, path: Path, key: str) -> DirectoryUpload:
        """Begin the file."""
        with _translated(key):
            path.parent.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            descriptor = os.open(path.with_name(path.name + _UNFINISHED), flags, _READABLE)
            return cls(path, key, descriptor)

    async def put(self, number: int, offset: int, data: bytes | bytearray) -> None:  # noqa: ARG002 - the offset says it all
        """See `Upload.put`."""
        await asyncio.to_thread(self._write, offset, data)

    async def finish(self, *, parts: int, size: int) -> None:  # noqa: ARG002 - the size says it all
        """See `Upload.finish`."""
        await asyncio.to_thread(self._finish, size)

    async def abort(self) -> None:
        """See `Upload.abort`."""
        with _translated(self._key):
            self._close()
            self._unfinished.unlink(missing_ok=True)
            with suppress(OSError):
                self._path.parent.rmdir()

    @property
    def _unfinished(self) -> Path:
        return self._path.with_name(self._path.name + _UNFINISHED)

    def _write(self, offset: int, data: bytes | bytearray) -> None:
        rest = memoryview(data)
        with self._lock, _translated(self._key):
            descriptor = self._descriptor
            if descriptor is None:
                raise StoreRefusedError(f"upload of {self._key} has ended", advice="Take the backup again.")
            while rest:
                written = os.pwrite(descriptor, rest, offset)
                rest, offset = rest[written:], offset + written

    def _finish(self, size: int) -> None:
        if self._descriptor is None and self._path.exists() and self._path.stat().st_size == size:
            return  # repeated
        with _translated(self._key):
            descriptor = self._descriptor
            found = os.fstat(descriptor).st_size if descriptor is not None else 0
            if descriptor is None or found != size:
                raise StoreRefusedError(
                    f"file of {self._key} has {found} bytes, expected {size}", advice="Take the backup again."
                )
            os.fsync(descriptor)
            _link(self._unfinished, self._path, self._key)
            self._unfinished.unlink()
            _sync(self._path.parent)
            self._close()

    def _close(self) -> None:
        with self._lock:
            descriptor, self._descriptor = self._descriptor, None
            if descriptor is not None:
                os.close(descriptor)


def _link_once(beside: Path, path: Path, key: str, body: bytes) -> None:
    try:
        _link(beside, path, key)
    except ObjectExistsError:
        if path.read_bytes() != body:
            raise


def _link(source: Path, path: Path, key: str) -> None:
    try:
        os.link(source, path)
    except FileExistsError as exc:
        raise ObjectExistsError(
            f"object {key} exists already with other content", advice="Nothing was written; choose another key."
        ) from exc


def _remove_empty(directory: Path, root: Path) -> None:
    """A directory without objects does not exist for anybody who lists keys."""
    while directory != root:
        try:
            directory.rmdir()
        except OSError:
            return
        directory = directory.parent


def _sync_directories(directory: Path, root: Path) -> None:
    """Names are durable only when the directories that hold them are."""
    while True:
        _sync(directory)
        if directory == root:
            return
        directory = directory.parent


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _raise(error: OSError) -> None:
    raise error


@contextmanager
def _translated(key: str) -> Iterator[None]:
    """Raise errors of the file system as those of the port; `key` is named in them."""
    try:
        yield
    except FileNotFoundError as exc:
        raise ObjectMissingError(f"there is no object {key}", advice="List the repository to see what there is.") from (
            exc
        )
    except OSError as exc:
        raise _translation(key, exc) from exc


def _translation(key: str, exc: OSError) -> BackupError:
    name = errno.errorcode.get(exc.errno or 0, "unknown error")
    if exc.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return StoreRefusedError(
            f"the disk of {key} is full ({name})", advice="Make room.", failure=BackupFailureClass.CAPACITY
        )
    if exc.errno == errno.EPERM:
        return ObjectLockedError(f"the file of {key} is immutable ({name})", advice="Wait until that is lifted.")
    if exc.errno in {errno.EACCES, errno.EROFS}:
        return StoreRefusedError(
            f"the file of {key} cannot be written ({name})",
            advice="Give the service's user the directory of the repository.",
            failure=BackupFailureClass.AUTHENTICATION,
        )
    if exc.errno in {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EINTR, errno.EAGAIN}:
        return StoreUnavailableError(f"the disk of {key} does not answer ({name})", advice="Look at the disk.")
    return StoreRefusedError(f"the file of {key} cannot be used ({name})", advice="Look at the disk.")
