"""A verification believes nothing: it reads, restores and compares, and says what failed first."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec
import pytest
import pytest_asyncio
from backup.adapters.accounts import account_of
from backup.comparing import differences
from backup.manifest import Content
from backup.pipeline.codec import Identity
from backup.sources.postgres_logical import PostgresLogicalSource
from backup.sources.postgres_rehearsal import PostgresRehearsal
from backup.stored import StoredBackup
from backup.verifying import Assertion, Verifying
from yaoki.clock import SystemClock
from yaoki.events.backup import BackupFailureClass, VerificationStage

from .taken import repository_in, take

if TYPE_CHECKING:
    from pathlib import Path

    from backup.adapters.directory import DirectoryObjectStore
    from backup.manifest import Manifest
    from backup.repository import Repository

    from .databases import TestDatabase

STAGES = tuple(VerificationStage)


@pytest.fixture
def repository(directory_store: DirectoryObjectStore) -> Repository:
    return repository_in(directory_store)


@pytest_asyncio.fixture
async def manifest(database: TestDatabase, repository: Repository, identity: Identity) -> Manifest:
    return await take(repository, PostgresLogicalSource(database.address()), identity)


@pytest.fixture
def verifying(database: TestDatabase) -> Verifying:
    rehearsal = PostgresRehearsal(binaries=database.address().binaries, account=account_of(None))
    return Verifying(rehearsal, SystemClock(), "backup-1")


@pytest.mark.real
async def test_a_good_backup_passes_every_stage_and_its_rto_is_measured(
    verifying: Verifying, repository: Repository, manifest: Manifest, identity: Identity
) -> None:
    assertions = [
        Assertion(name="orders are there", question="SELECT count(*) >= 3000 FROM public.orders"),
        Assertion(name="the dearest", question="SELECT max(price) FROM public.orders", expect="3750.00"),
        Assertion(name="one", question="SELECT 1", expect="1"),
    ]

    found = await verifying.verify(StoredBackup(repository, manifest, [identity]), assertions)

    assert found.record.passed, found
    assert found.record.stages == STAGES
    assert found.record.rto_s is not None
    assert found.record.rto_s > 0
    assert set(found.record.durations_s) == {stage.value for stage in STAGES}
    await repository.record(manifest, found.record)
    assert (await repository.catalogue()).entries[0].verified_at == found.record.verified_at


@pytest.mark.real
async def test_an_assertion_that_does_not_hold_is_named(
    verifying: Verifying, repository: Repository, manifest: Manifest, identity: Identity
) -> None:
    assertion = Assertion(name="no orders", question="SELECT count(*) = 0 FROM public.orders")

    found = await verifying.verify(StoredBackup(repository, manifest, [identity]), [assertion])

    assert found.record.failed_stage is VerificationStage.ASSERTIONS
    assert found.record.conclusive
    assert "'no orders'" in found.record.message
    assert found.record.stages == STAGES[:-1]


@pytest.mark.real
async def test_content_that_differs_from_the_record_is_found(
    verifying: Verifying, repository: Repository, manifest: Manifest, identity: Identity
) -> None:
    """As if the restore had lost a row, or changed one: every byte is right, and yet it is not what was there."""
    contents = tuple(
        msgspec.structs.replace(one, rows=one.rows + 1) if one.name == "public.parent" else one
        for one in manifest.source.contents
    )
    other = msgspec.structs.replace(manifest, source=msgspec.structs.replace(manifest.source, contents=contents))

    found = await verifying.verify(StoredBackup(repository, other, [identity]))

    assert found.record.failed_stage is VerificationStage.CONTENT
    assert "public.parent has 1 rows, 2 were recorded" in found.record.message
    assert found.record.rto_s is None


@pytest.mark.real
async def test_a_flipped_bit_is_found_before_anything_is_restored(
    verifying: Verifying, repository: Repository, manifest: Manifest, identity: Identity, tmp_path: Path
) -> None:
    file = next((tmp_path / "repository").rglob("globals.000"))
    data = bytearray(file.read_bytes())
    data[-20] ^= 1
    file.write_bytes(data)

    found = await verifying.verify(StoredBackup(repository, manifest, [identity]))

    assert (found.record.failed_stage, found.record.conclusive) == (VerificationStage.STORED_BYTES, True)
    assert found.record.stages == ()
    assert found.failure is BackupFailureClass.VERIFICATION


@pytest.mark.real
async def test_a_stream_that_is_no_dump_fails_its_structure(
    database: TestDatabase, verifying: Verifying, repository: Repository, identity: Identity
) -> None:
    """It is stored well, and means nothing."""
    manifest = await take(repository, PostgresLogicalSource(database.address()), identity)
    streams = {stream.name: stream for stream in manifest.streams}
    misnamed = msgspec.structs.replace(streams["globals"], name="data")
    other = msgspec.structs.replace(manifest, streams=(misnamed,))

    found = await verifying.verify(StoredBackup(repository, other, [identity]))

    assert (found.record.failed_stage, found.record.conclusive) == (VerificationStage.STRUCTURE, True)
    assert found.record.stages == STAGES[:3]


@pytest.mark.real
@pytest.mark.parametrize("what", ["key", "binaries", "object"])
async def test_what_speaks_of_the_verifier_does_not_count_against_the_backup(
    what: str, *, database: TestDatabase, repository: Repository, manifest: Manifest, identity: Identity, tmp_path: Path
) -> None:
    """A missing key and missing programs are inconclusive; a missing object is the backup's own fault."""
    binaries = "/nowhere" if what == "binaries" else database.address().binaries
    verifying = Verifying(PostgresRehearsal(binaries=binaries, account=account_of(None)), SystemClock(), "backup-1")
    if what == "object":
        os.unlink(next((tmp_path / "repository").rglob("data.000")))  # noqa: PTH108 - a test may block for a moment

    key = Identity.generate() if what == "key" else identity
    found = await verifying.verify(StoredBackup(repository, manifest, [key]))

    assert not found.record.passed
    assert found.record.conclusive == (what == "object")
    assert found.advice


def test_differences_are_named() -> None:
    """Missing, added, other counts, other contents; a fingerprint that was not taken is not compared."""
    recorded = [Content(name="a", rows=1, fingerprint="f"), Content(name="b", rows=2), Content(name="c", rows=3)]
    found = [
        Content(name="a", rows=1, fingerprint="g"),
        Content(name="b", rows=2, fingerprint="x"),
        Content(name="d", rows=0),
    ]

    assert differences(recorded, recorded) == ()
    assert differences(recorded, found) == (
        "c is missing",
        "a has the 1 rows that were recorded, with another content",
        "d was not in the backup",
    )
