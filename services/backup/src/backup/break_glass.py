r"""Restores with nothing but a repository and an age identity: no NATS, no configuration, no other service.

    python -m backup.break_glass list --from s3://bucket/yaoki
    python -m backup.break_glass restore --from s3://bucket/yaoki --identity key.txt --target orders \\
        --into-database orders_restored

S3 is reached as the `aws` command does (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, ...), PostgreSQL as `psql` does (PGHOST,
PGUSER, PGPASSWORD, ...). Nothing that exists is changed: the database and the directory must not be there.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from yaoki.errors import YaokiError

from backup.adapters.accounts import account_of
from backup.adapters.directory import DirectoryObjectStore
from backup.adapters.s3 import S3Location, S3ObjectStore
from backup.comparing import differences
from backup.errors import BackupError, RestoreFailedError, RestoreRefusedError
from backup.pipeline.codec import identity_of
from backup.repository import Repository
from backup.sources import file_tree, postgres_logical, postgres_physical
from backup.sources.cluster_restore import restore_cluster, restored_contents
from backup.sources.postgres_restore import RestoreOptions, contents_of, restore_database
from backup.sources.postgres_server import PostgresServer
from backup.sources.tree_restore import restore_tree
from backup.stored import StoredBackup

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from backup.manifest import Content
    from backup.repository import Entry

_EXIT_FAILED: Final = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point: 0 done, 1 could not be done, 2 asked wrongly."""
    arguments = _parser().parse_args(argv)
    try:
        asyncio.run(_list(arguments) if arguments.what == "list" else _restore(arguments))
    except YaokiError as error:
        advice = f" {error.advice}" if isinstance(error, BackupError) else ""
        sys.stderr.write(f"{error.message}.{advice}\n")
        return _EXIT_FAILED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="break-glass", description="Restores from a repository alone.")
    commands = parser.add_subparsers(dest="what", required=True)
    listing = commands.add_parser("list", help="show every backup")
    restore = commands.add_parser("restore", help="restore one into a new place")
    for command in (listing, restore):
        command.add_argument("--from", dest="place", required=True, help="s3://bucket/prefix or file:///path")
        command.add_argument("--target", default="", help="only this target")
    restore.add_argument("--identity", type=Path, required=True, help="file that age-keygen wrote")
    restore.add_argument("--backup", default="", help="identity of the backup (default: the newest)")
    where = restore.add_mutually_exclusive_group(required=True)
    where.add_argument("--into-database", help="name of a database that does not exist")
    where.add_argument("--into-directory", type=Path, help="a directory that does not exist, or is empty")
    restore.add_argument("--binaries", default="", help="directory of PostgreSQL's programs (default: PATH)")
    restore.add_argument("--run-as", help="owner of a restored cluster, where this is root (default: postgres)")
    restore.add_argument("--roles", action="store_true", help="create missing roles first")
    restore.add_argument("--no-owners", action="store_true", help="leave out owners and privileges")
    return parser


async def _list(arguments: argparse.Namespace) -> None:
    async with AsyncExitStack() as stack:
        catalogue = await _open(arguments.place, os.environ, stack).catalogue(arguments.target)
    for entry in catalogue.entries:
        manifest = entry.manifest
        state = "broken" if entry.broken else "verified" if entry.verified_at else "not verified"
        at = manifest.source.consistent_at.isoformat(timespec="seconds")
        _say(f"{manifest.backup_id}  {manifest.target}  {manifest.kind}  {at}  {manifest.stored_size} bytes  {state}")
    for problem in catalogue.problems:
        _say(f"unreadable: {problem}")


async def _restore(arguments: argparse.Namespace) -> None:
    identity = identity_of(_read(arguments.identity))
    async with AsyncExitStack() as stack:
        repository = _open(arguments.place, os.environ, stack)
        entry = _choose((await repository.catalogue(arguments.target)).entries, arguments.backup)
        backup = StoredBackup(repository, entry.manifest, [identity])
        _say(f"restoring {entry.manifest.target}/{entry.manifest.backup_id}")
        if arguments.into_database:
            found = await _into_database(arguments, backup)
        else:
            found = await _into_directory(arguments, backup)
    wrong = differences(entry.manifest.source.contents, found)
    if wrong:
        raise RestoreFailedError(
            f"the restored copy is another one: {'; '.join(wrong[:5])}", advice="It was left for you to look at."
        )
    rows = sum(content.rows for content in found)
    _say(f"restored and compared: {len(found)} contents with {rows} rows are those that were backed up")


async def _into_database(arguments: argparse.Namespace, backup: StoredBackup) -> tuple[Content, ...]:
    _expect_kind(backup, postgres_logical.KIND, "--into-directory")
    server = _server(os.environ, arguments.binaries)
    complete = not arguments.no_owners
    options = RestoreOptions(owners=complete, privileges=complete, roles=arguments.roles, any_locale=True)
    await restore_database(server, arguments.into_database, backup, options)
    return await contents_of(server.database_named(arguments.into_database), backup)


async def _into_directory(arguments: argparse.Namespace, backup: StoredBackup) -> tuple[Content, ...]:
    into: Path = arguments.into_directory
    if backup.manifest.kind == postgres_physical.KIND:
        await restore_cluster(into, backup, _server(os.environ, arguments.binaries), account_of(arguments.run_as))
        return await restored_contents(into)
    _expect_kind(backup, file_tree.KIND, "--into-database")
    await restore_tree(into, backup, owners=os.geteuid() == 0)
    return await file_tree.contents_of(str(into), backup.manifest.source.contents)


def _open(place: str, environment: Mapping[str, str], stack: AsyncExitStack) -> Repository:
    parts = urlsplit(place)
    path = parts.path.strip("/")
    if parts.scheme == "file" and not parts.netloc:
        return Repository("break-glass", DirectoryObjectStore(Path(f"/{path}")), "")
    if parts.scheme != "s3" or not parts.netloc:
        raise RestoreRefusedError(
            f"--from {place!r} is no repository: expected s3://bucket/prefix or file:///path",
            advice="The prefix is the one of the configuration, yaoki if nothing else was chosen.",
        )
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or "us-east-1"
    endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
    # Keys, profiles and roles are found by boto3 itself, as the aws command finds them.
    store = S3ObjectStore(S3Location(bucket=parts.netloc, endpoint=endpoint, region=region))
    stack.callback(store.close)
    return Repository("break-glass", store, path)


def _choose(entries: tuple[Entry, ...], backup_id: str) -> Entry:
    targets = sorted({entry.manifest.target for entry in entries})
    if backup_id:
        found = [entry for entry in entries if entry.manifest.backup_id == backup_id]
    elif len(targets) > 1:
        raise RestoreRefusedError(f"there are backups of {', '.join(targets)}", advice="Choose one with --target.")
    else:
        found = [entry for entry in entries if not entry.broken]
    if not found:
        known = ", ".join(entry.manifest.backup_id for entry in entries[-5:]) or "none"
        wanted = backup_id or "that is not broken"
        raise RestoreRefusedError(
            f"there is no backup {wanted}; the newest are: {known}", advice="List them with the command list."
        )
    return found[-1]


def _server(environment: Mapping[str, str], binaries: str) -> PostgresServer:
    return PostgresServer(
        host=environment.get("PGHOST", "127.0.0.1"),
        port=int(environment.get("PGPORT", "5432")),
        user=environment.get("PGUSER", "postgres"),
        password=environment.get("PGPASSWORD", ""),
        database=environment.get("PGDATABASE", "postgres"),
        tls=environment.get("PGSSLMODE", "prefer"),
        ca_file=environment.get("PGSSLROOTCERT", ""),
        binaries=binaries,
    )


def _expect_kind(backup: StoredBackup, kind: str, other: str) -> None:
    if backup.manifest.kind != kind:
        raise RestoreRefusedError(f"the backup is of kind {backup.manifest.kind}", advice=f"Use {other}.")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise RestoreRefusedError(
            f"the identity {path} cannot be read",
            advice="Name the file that age-keygen wrote.",
        ) from exc


def _say(sentence: str) -> None:
    sys.stdout.write(f"{sentence}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
