"""A base backup becomes a data directory again, compared with PostgreSQL's manifest before a server starts on it."""

from __future__ import annotations

import asyncio
import os
import re
from typing import TYPE_CHECKING, Final

from yaoki.events.backup import BackupFailureClass

from backup.adapters.children import run
from backup.errors import RestoreRefusedError, as_restore
from backup.sources.base_check import check_base, manifest_facts
from backup.sources.tree_restore import restore_tree

if TYPE_CHECKING:
    from pathlib import Path

    from backup.adapters.accounts import Account
    from backup.manifest import Content, Manifest
    from backup.sources.postgres_server import PostgresServer
    from backup.stored import StoredBackup

_PRIVATE: Final = 0o700
_MAJOR: Final = re.compile(r"\b(\d+)(?:\.|devel|beta|rc)")


async def restore_cluster(into: Path, backup: StoredBackup, programs: PostgresServer, account: Account | None) -> None:
    """Unpack a physical backup and compare every file with PostgreSQL's own list.

    Args:
        into: Has to be missing or empty.
        backup: Of kind `postgres-physical`.
        programs: Where PostgreSQL's programs are; of the backup's major version.
        account: Who owns the data directory, where this process is root.

    Raises:
        RestoreRefusedError: The directory is not empty, or the programs are of another version.
        BackupError: It is incomplete or damaged; what is there can be removed.
    """
    await expect_version(programs, backup.manifest)
    await restore_tree(into, backup, owners=False)
    await asyncio.to_thread(_adopt, into, account)
    await asyncio.to_thread(check_base, into)
    # A copy of a standby would follow the primary as soon as it is started.
    (into / "standby.signal").unlink(missing_ok=True)


async def expect_version(programs: PostgresServer, manifest: Manifest) -> None:
    """The programs can start what was backed up.

    Raises:
        RestoreRefusedError: They are of another major version.
        RestoreFailedError: There are none.
    """
    with as_restore():
        said = (await run([programs.program("postgres"), "--version"], {})).decode("utf-8", "replace")
    wanted = manifest.source.versions.get("postgresql", "")
    found, expected = _MAJOR.search(said), _MAJOR.match(wanted)
    if found is None or expected is None or found[1] != expected[1]:
        raise RestoreRefusedError(
            f"the backup is of PostgreSQL {wanted or 'unknown'}; the programs say {said.strip()!r}",
            advice="Set the binaries to those of the same major version: files of one are not read by another.",
            failure=BackupFailureClass.SOURCE,
        )


async def restored_contents(into: Path) -> tuple[Content, ...]:
    """Of the manifest that lies in a restored data directory; compare it with what was recorded."""
    return (await asyncio.to_thread(manifest_facts, into)).contents


def _adopt(into: Path, account: Account | None) -> None:
    """PostgreSQL starts only from a directory of its own that nobody else can enter."""
    into.chmod(_PRIVATE)
    if account is None:
        return
    os.chown(into, account.uid, account.gid)
    for directory, subdirectories, files in os.walk(into):
        for name in (*subdirectories, *files):
            os.chown(os.path.join(directory, name), account.uid, account.gid, follow_symlinks=False)  # noqa: PTH118 - by the thousand
