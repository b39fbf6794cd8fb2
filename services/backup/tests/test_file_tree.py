"""A tree of files comes back with everything that tar can carry, through our code and through tar itself."""

from __future__ import annotations

import asyncio
import io
import os
import stat
import subprocess
import tarfile
import threading
from typing import TYPE_CHECKING

import msgspec
import pytest
from backup.errors import BackupError, DamagedError, RestoreRefusedError, SourceFailedError
from backup.sources.file_tree import FileTreeSource, contents_of
from backup.sources.tree_rehearsal import TreeRehearsal
from backup.sources.tree_restore import restore_tree
from backup.stored import StoredBackup
from backup.verifying import Verifying
from yaoki.clock import SystemClock
from yaoki.events.backup import BackupFailureClass, VerificationStage
from yaoki.testing import eventually

from .streams import DIRECTORY, chunks, sealed
from .taken import repository_in, take

if TYPE_CHECKING:
    from pathlib import Path

    from backup.adapters.directory import DirectoryObjectStore
    from backup.manifest import Manifest
    from backup.pipeline.codec import Identity
    from backup.repository import Repository

MEGABYTE = 1 << 20
HOLE = 64 * MEGABYTE
ROOT = os.geteuid() == 0


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What is hard about files."""
    root = tmp_path / "tree"
    deep = root / "a" / "b"
    deep.mkdir(parents=True)
    (root / "empty directory").mkdir(mode=0o711)
    (root / "empty").touch()
    (root / "large").write_bytes(os.urandom(MEGABYTE + 17))
    (root / "secret").write_text("s", encoding="utf-8")
    (root / "secret").chmod(0o4600)
    (root / "first").write_text("linked", encoding="utf-8")
    os.link(root / "first", deep / "second")
    (deep / "to nowhere").symlink_to("../../nowhere/ü")
    (deep / "absolute").symlink_to("/etc/hostname")
    (root / ("long" * 50)).mkdir()
    (root / ("long" * 50) / ("name" * 50)).write_text("deep", encoding="utf-8")
    with open(os.fsencode(root) + b"/not \xff\xfe utf-8\n", "wb") as file:  # noqa: PTH123 - Path takes no bytes
        file.write(b"name")
    with (root / "sparse").open("wb") as file:
        file.write(b"begin")
        file.seek(HOLE)
        file.write(b"end")
        file.truncate(2 * HOLE)
    with (root / "all hole").open("wb") as file:
        file.truncate(HOLE)
    os.mkfifo(root / "pipe", 0o640)
    for name, ns in (("empty", 1_234_567_890_123_456_789), ("large", -1_500_000_000), ("secret", 0)):
        os.utime(root / name, ns=(ns, ns))
    os.utime(deep / "absolute", ns=(5, 5), follow_symlinks=False)
    if ROOT:
        os.chown(root / "secret", 12345, 54321)
        (root / "secret").chmod(0o4600)
    os.utime(deep, ns=(7, 7))
    return root


@pytest.fixture
def repository(directory_store: DirectoryObjectStore) -> Repository:
    return repository_in(directory_store)


async def back_up(repository: Repository, tree: Path, identity: Identity, *excluded: str) -> Manifest:
    return await take(repository, FileTreeSource(str(tree), excluded), identity, target="uploads")


def occupied(path: Path) -> int:
    return path.stat().st_blocks * 512


async def test_a_tree_comes_back(repository: Repository, tree: Path, identity: Identity, tmp_path: Path) -> None:
    """The fingerprint covers names, kinds, modes, times, targets and contents; the rest is looked at one by one."""
    manifest = await back_up(repository, tree, identity)
    into = tmp_path / "restored"

    await restore_tree(into, StoredBackup(repository, manifest, [identity]), owners=ROOT)

    assert await contents_of(str(into)) == manifest.source.contents
    assert {content.name: content.rows for content in manifest.source.contents} == {
        "directories": 5,
        "files": 8,
        "hard links": 1,
        "owners": 16,
        "special files": 1,
        "symbolic links": 2,
    }
    assert manifest.source.warnings == ()
    assert (into / "first").stat().st_ino == (into / "a" / "b" / "second").stat().st_ino
    assert (into / "large").read_bytes() == (tree / "large").read_bytes()
    assert (into / "empty").stat().st_mtime_ns == 1_234_567_890_123_456_789
    assert (into / "large").stat().st_mtime_ns == -1_500_000_000
    assert stat.S_IMODE((into / "secret").stat().st_mode) == 0o4600
    assert (into / "sparse").stat().st_size == 2 * HOLE
    assert occupied(into / "sparse") + occupied(into / "all hole") < MEGABYTE
    assert manifest.plain_size < 3 * MEGABYTE
    if ROOT:
        assert ((into / "secret").stat().st_uid, (into / "secret").stat().st_gid) == (12345, 54321)


async def test_tar_reads_it(
    repository: Repository, tree: Path, identity: Identity, tmp_path: Path, tool: dict[str, str]
) -> None:
    """Cat data.* | age -d | zstd -d | tar -x, without Yaoki."""
    manifest = await back_up(repository, tree, identity)
    key, into = tmp_path / "key.txt", tmp_path / "by hand"
    key.write_text(str(identity), encoding="utf-8")
    into.mkdir()
    stored = tmp_path / "repository" / repository.directory_of(manifest)
    line = f"cat {stored}/data.* | {tool['age']} -d -i {key} | {tool['zstd']} -dc | tar -xp -C '{into}'"

    await asyncio.to_thread(subprocess.run, ["sh", "-ec", line], check=True)

    assert await contents_of(str(into)) == manifest.source.contents
    assert occupied(into / "sparse") < MEGABYTE


async def test_a_verification_restores_it(repository: Repository, tree: Path, identity: Identity) -> None:
    manifest = await back_up(repository, tree, identity)

    found = await Verifying(TreeRehearsal(), SystemClock(), "i").verify(StoredBackup(repository, manifest, [identity]))

    assert found.record.passed, found
    assert found.record.stages == tuple(VerificationStage)


async def test_every_change_changes_the_fingerprint(tree: Path) -> None:
    """Of content, mode, time, link target and name."""
    seen = [await contents_of(str(tree))]
    large, link = tree / "large", tree / "a" / "b" / "absolute"
    times = large.stat().st_mtime_ns

    def rewrite() -> None:
        large.write_bytes(b"x" * large.stat().st_size)
        os.utime(large, ns=(times, times))

    def relink() -> None:
        link.unlink()
        link.symlink_to("/etc/passwd")

    for change in (
        rewrite,
        lambda: large.chmod(0o604),
        lambda: os.utime(large, ns=(times + 1, times + 1)),
        lambda: (tree / "empty").rename(tree / "renamed"),
        relink,
    ):
        change()
        seen.append(await contents_of(str(tree)))

    assert len(set(seen)) == len(seen)


async def test_patterns_leave_out_what_they_fit(repository: Repository, tree: Path, identity: Identity) -> None:
    """A directory with its content."""
    manifest = await back_up(repository, tree, identity, "a", "long*", "not*", "sp*")

    counts = {content.name: content.rows for content in manifest.source.contents}
    assert counts == {"directories": 2, "files": 5, "owners": 8, "special files": 1}


async def test_files_that_change_while_they_are_read_break_nothing(
    repository: Repository, tree: Path, identity: Identity, tmp_path: Path
) -> None:
    """Grown, cut, rewritten and removed all the time: the archive stays readable, and what changed is said."""
    busy = [tree / f"busy {number}" for number in range(10)]
    for path in busy:
        path.write_bytes(os.urandom(MEGABYTE // 2))
    stop = threading.Event()

    def disturb() -> None:
        while not stop.is_set():
            for number, path in enumerate(busy):
                if number % 10 == 9:
                    path.unlink(missing_ok=True)
                with path.open("ab") as file:
                    file.truncate(number * 1000)
                    file.write(b"more" * 50_000)

    manifests: list[Manifest] = []

    async def one_noticed_a_change() -> bool:
        manifests.append(await back_up(repository, tree, identity))
        return any("changed while it was read" in warning for warning in manifests[-1].source.warnings)

    disturbing = asyncio.create_task(asyncio.to_thread(disturb))
    try:
        await eventually(one_noticed_a_change, within=60)
    finally:
        stop.set()
        await disturbing

    for number, manifest in enumerate(manifests):
        into = tmp_path / f"restored {number}"
        await restore_tree(into, StoredBackup(repository, manifest, [identity]), owners=ROOT)
        assert await contents_of(str(into)) == manifest.source.contents


async def test_a_root_that_is_not_there_is_no_empty_backup(
    repository: Repository, identity: Identity, tmp_path: Path
) -> None:
    with pytest.raises(SourceFailedError) as caught:
        await back_up(repository, tmp_path / "not mounted", identity)

    assert caught.value.failure is BackupFailureClass.SOURCE
    assert (await repository.catalogue()).entries == ()


async def test_a_directory_that_is_not_empty_is_not_restored_into(
    repository: Repository, tree: Path, identity: Identity
) -> None:
    manifest = await back_up(repository, tree, identity)

    with pytest.raises(RestoreRefusedError, match="is not empty"):
        await restore_tree(tree, StoredBackup(repository, manifest, [identity]), owners=False)


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info.tobuf(tarfile.PAX_FORMAT)


@pytest.mark.parametrize(
    "archive",
    [
        member("../outside"),
        member("/outside"),
        member("a/../../outside"),
        member("missing/outside"),
        member("link", tarfile.SYMTYPE, "..") + member("link/outside"),
        member("link", tarfile.LNKTYPE, "../outside"),
    ],
    ids=["parent", "absolute", "through a directory", "no directory", "through a link", "hard link"],
)
async def test_a_hostile_archive_writes_nothing_outside(
    archive: bytes, directory_store: DirectoryObjectStore, identity: Identity, tmp_path: Path
) -> None:
    """Sealed by somebody with the public key and the right to write to the bucket."""
    (tmp_path / "outside").write_text("mine", encoding="utf-8")
    source = member(".", tarfile.DIRTYPE) + archive + bytes(1024)
    stream = await sealed(directory_store, chunks(source), identity)
    backup = _Hostile(directory_store, stream, identity)

    with pytest.raises(BackupError) as caught:
        await restore_tree(tmp_path / "into", backup, owners=False)  # type: ignore[arg-type]  # it feeds one stream, as a backup does

    assert isinstance(caught.value, DamagedError)
    assert (tmp_path / "outside").read_text(encoding="utf-8") == "mine"


class _Hostile:
    """A stored stream without a manifest around it."""

    def __init__(self, store: DirectoryObjectStore, stream: object, identity: Identity) -> None:
        self._parts = (store, stream, identity)

    async def feed(self, _name: str, consume: object) -> None:
        from backup.pipeline.unsealing import unseal  # noqa: PLC0415 - used here only

        store, stream, identity = self._parts
        await unseal(store, DIRECTORY, stream, [identity], consume)  # type: ignore[arg-type]  # kept as objects above


async def test_content_that_is_no_archive_fails_its_structure(
    repository: Repository, tree: Path, identity: Identity, directory_store: DirectoryObjectStore
) -> None:
    manifest = await back_up(repository, tree, identity)
    other = await sealed(directory_store, chunks(b"no archive" * 1000), identity)
    await directory_store.delete([f"{repository.directory_of(manifest)}/data.000"])
    await directory_store.put_once(
        f"{repository.directory_of(manifest)}/data.000",
        await directory_store.get(f"{DIRECTORY}/data.000", limit=MEGABYTE),
    )
    misled = msgspec.structs.replace(manifest, streams=(other,))

    found = await Verifying(TreeRehearsal(), SystemClock(), "i").verify(StoredBackup(repository, misled, [identity]))

    assert (found.record.failed_stage, found.record.conclusive) == (VerificationStage.STRUCTURE, True)


def test_the_archive_is_one_that_tarfile_lists(tree: Path) -> None:
    """Without the pipeline around it."""
    from backup.sources.tar_stream import tar_stream  # noqa: PLC0415 - used here only
    from backup.sources.tree_tally import Tally  # noqa: PLC0415 - as above
    from backup.sources.tree_walk import Warnings  # noqa: PLC0415 - as above

    archive = b"".join(tar_stream(str(tree), (), Tally(), Warnings()))

    with tarfile.open(fileobj=io.BytesIO(archive)) as listed:
        assert len(listed.getmembers()) == 17
