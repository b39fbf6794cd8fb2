"""Over NATS, as people use it: take, list, verify, restore; and what is left when the service is killed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from backup.repository import Repository
from yaoki.commands.backup import ListBackups, PlanRetention, RestoreBackup, TakeBackup, VerifyBackup
from yaoki.errors import ErrorCode, RejectedError, TransientError
from yaoki.events.backup import (
    BackupCompleted,
    BackupFailed,
    BackupFailureClass,
    BackupStarted,
    BackupVerificationFailed,
    BackupVerified,
    RestoreCompleted,
    RestoreFailed,
)
from yaoki.testing import eventually

from .databases import TABLES
from .system import BackupSystem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from backup.adapters.s3 import S3ObjectStore
    from backup.pipeline.codec import Identity
    from yaoki.commands.backup import BackupOrdered
    from yaoki_devstack.s3 import S3Server

    from .databases import TestDatabase

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]


def section(database: TestDatabase, s3: S3Server, bucket: str, identity: Identity, **target: Any) -> dict[str, Any]:
    address = database.address()
    return {
        "recipients": [str(identity.to_public())],
        "identity": "env:YAOKI_TEST_IDENTITY",
        "binaries": address.binaries,
        "repositories": {
            "main": {
                "kind": "s3",
                "endpoint": s3.url,
                "bucket": bucket,
                "access_key": "env:YAOKI_TEST_ACCESS",
                "secret_key": "env:YAOKI_TEST_SECRET",
            }
        },
        "targets": {
            "orders": {
                "kind": "postgres-logical",
                "repository": "main",
                "host": address.host,
                "port": address.port,
                "user": address.user,
                "password": "env:YAOKI_TEST_PASSWORD",
                "database": address.database,
                "tls": "disable",
                "assertions": [{"name": "orders", "question": "SELECT count(*) = 3000 FROM public.orders"}],
                **target,
            }
        },
    }


@pytest_asyncio.fixture
async def system(database: TestDatabase, s3_server: S3Server, identity: Identity) -> AsyncIterator[BackupSystem]:
    environment = {
        "YAOKI_TEST_IDENTITY": str(identity),
        "YAOKI_TEST_ACCESS": s3_server.access_key,
        "YAOKI_TEST_SECRET": s3_server.secret_key,
        "YAOKI_TEST_PASSWORD": database.address().password,
    }
    async with BackupSystem(environment) as running:
        yield running


async def ask(system: BackupSystem, request: Any) -> Any:
    """The answer, as soon as the service is there to give one and is done with the target.

    `BackupCompleted` is said while the target is still held: an order right after it may find it busy.
    """

    async def answered() -> Any:
        try:
            return await system.messaging.request(request)
        except TransientError as error:
            raise AssertionError(f"{error.message}\n{system.log}") from error
        except RejectedError as error:
            if error.code is ErrorCode.CONFLICT:
                raise AssertionError(error.message) from error
            raise

    return await eventually(answered, within=30)


async def test_a_backup_is_taken_listed_verified_and_restored(
    system: BackupSystem, database: TestDatabase, s3_server: S3Server, bucket: str, identity: Identity
) -> None:
    """The whole way, with what is said on it."""
    system.configure(section(database, s3_server, bucket, identity))
    system.start()

    ordered: BackupOrdered = await ask(system, TakeBackup(target="orders", by="ann", order_id="first"))
    completed = await system.wait_for(BackupCompleted)
    assert ordered.order_id == "first"
    assert (completed.tables, completed.rows) == (len(TABLES), sum(TABLES.values()))
    assert completed.rpo_achieved_s is None

    again = await ask(system, TakeBackup(target="orders", by="ann"))
    second = await system.wait_for(BackupCompleted, count=2)
    assert again.order_id != "first"
    assert second.rpo_achieved_s is not None

    listed = await ask(system, ListBackups(target="orders"))
    assert [one.backup_id for one in listed.backups] == [completed.backup_id, second.backup_id]

    await ask(system, VerifyBackup(target="orders", backup_id=completed.backup_id, by="ann"))
    verified = await system.wait_for(BackupVerified)
    assert verified.rto_s > 0
    assert (await ask(system, ListBackups(target="orders"))).backups[0].verified_at == verified.verified_at
    planned = await ask(system, PlanRetention(target="orders"))
    assert {one.verdict for one in planned.verdicts} == {"keep"}
    assert "the newest proven one" in planned.verdicts[0].reasons

    await database.psql("DELETE FROM orders")
    name = f"orders/{completed.backup_id}"
    order = RestoreBackup(
        target="orders", backup_id=completed.backup_id, confirm=name, swap=True, by="ann", order_id="r1"
    )
    await ask(system, order)
    restored = await system.wait_for(RestoreCompleted)
    assert restored.swapped
    assert await database.psql("SELECT count(*) FROM orders") == "3000"
    assert await database.server.psql("SELECT count(*) FROM orders", database=restored.kept) == "0"
    assert not [event for event in await system.events() if isinstance(event, BackupFailed | RestoreFailed)]


async def test_wrong_orders_change_nothing_and_say_why(
    system: BackupSystem, database: TestDatabase, s3_server: S3Server, bucket: str, identity: Identity
) -> None:
    system.configure(section(database, s3_server, bucket, identity))
    system.start()
    await ask(system, TakeBackup(target="orders", by="ann"))
    backup = (await system.wait_for(BackupCompleted)).backup_id

    for request, sentence in (
        (TakeBackup(target="order", by="ann"), "there are: orders"),
        (VerifyBackup(target="orders", backup_id="nothing", by="ann"), backup),
        (RestoreBackup(target="orders", backup_id=backup, confirm="orders", by="ann"), f"expected 'orders/{backup}'"),
    ):
        with pytest.raises(RejectedError, match=sentence):
            await system.messaging.request(request)

    assert [type(event) for event in await system.events()] == [BackupStarted, BackupCompleted]


async def test_a_damaged_backup_fails_its_verification_and_is_not_chosen_again(
    *,
    system: BackupSystem,
    database: TestDatabase,
    s3_server: S3Server,
    bucket: str,
    s3_store: S3ObjectStore,
    identity: Identity,
) -> None:
    """A byte rots in the bucket."""
    system.configure(section(database, s3_server, bucket, identity))
    system.start()
    await ask(system, TakeBackup(target="orders", by="ann"))
    backup = await system.wait_for(BackupCompleted)
    key = f"yaoki/orders/postgres-logical/{backup.backup_id}/data.000"
    body = bytearray(b"".join([chunk async for chunk in s3_store.read(key)]))
    body[len(body) // 2] ^= 1
    await s3_store.delete([key])
    await s3_store.put_once(key, bytes(body))

    await ask(system, VerifyBackup(target="orders", by="ann"))

    failed = await system.wait_for(BackupVerificationFailed)
    assert (failed.stage, failed.conclusive) == ("stored-bytes", True)
    with pytest.raises(RejectedError, match="no backup that is not broken"):
        await system.messaging.request(VerifyBackup(target="orders", by="ann"))


@pytest.mark.parametrize("point", ["backup.after-part", pytest.param("backup.after-manifest", marks=pytest.mark.chaos)])
async def test_a_killed_service_leaves_no_half_backup(
    point: str,
    *,
    system: BackupSystem,
    database: TestDatabase,
    s3_server: S3Server,
    bucket: str,
    s3_store: S3ObjectStore,
    identity: Identity,
) -> None:
    """SIGKILL in the middle: what became of it is said, what it left is removed, and the order is carried out."""
    system.configure(section(database, s3_server, bucket, identity))
    system.start(fault=f"{point}:kill")
    # The stored order itself: a service that is about to be killed may not come to answer a request.
    await system.messaging.order(TakeBackup(target="orders", by="ann", order_id="first"), message_id="first")
    first = await system.wait_for(BackupStarted)
    await eventually(lambda: not system.processes.running("backup-1"), within=30)

    system.start()

    completed = await system.wait_for(BackupCompleted, within=120)
    entries = (await Repository("main", s3_store, "yaoki").catalogue()).entries
    assert [entry.manifest.backup_id for entry in entries] == [completed.backup_id]
    keys = [item.key async for item in s3_store.listing("")]
    keys += [item.key async for item in s3_store.unfinished("")]
    assert all(completed.backup_id in key for key in keys)
    failed = [event for event in await system.events() if isinstance(event, BackupFailed)]
    if point == "backup.after-manifest":
        assert (completed.backup_id, failed) == (first.backup_id, [])
    else:
        assert [(one.backup_id, one.failure) for one in failed] == [(first.backup_id, BackupFailureClass.CANCELLED)]
