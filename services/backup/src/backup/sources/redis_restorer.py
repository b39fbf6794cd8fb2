"""Restores a Redis dump into an empty server beside the live one."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from backup.comparing import differences
from backup.errors import RestoreFailedError, RestoreRefusedError, SourceFailedError, as_restore
from backup.sources.redis_dump import DATA, RedisSource
from backup.sources.redis_feed import DumpFeed
from backup.sources.redis_server import RedisRefusedError

if TYPE_CHECKING:
    from backup.kinds import RestoreChoices
    from backup.manifest import Content
    from backup.sources.redis_server import RedisConnection, RedisServer
    from backup.stored import StoredBackup

_POLL_S: Final = 0.1
_CONTACT_S: Final = 60.0


class RedisRestorer:
    """See `kinds.Restorer`. Whatever holds a key is live, and is left as it is: it has to be emptied by a person.

    Args:
        live: What the backups are taken of.
        place: An empty server for the copy; None where none is configured.
    """

    swaps: Final = False

    def __init__(self, live: RedisServer, place: RedisServer | None) -> None:
        self._live = live
        self._place = place
        self._found: dict[str, tuple[Content, ...]] = {}

    def into(self, identity: str) -> str:  # noqa: ARG002 - there is one place
        """See `Restorer.into`."""
        return self._place.place if self._place is not None else f"beside {self._live.place}"

    async def restore(self, backup: StoredBackup, identity: str, choices: RestoreChoices) -> None:  # noqa: ARG002 - a dump has no owners
        """See `Restorer.restore`: the copy is compared while it is a replica, before it lets keys expire."""
        with as_restore():
            async with self._expect_place().connected() as connection:
                await _expect_master(connection, self.into(identity))
                if await _keys(connection):
                    self._found[identity] = await self._complete_already(backup, identity)
                    return
                try:
                    self._found[identity] = await self._fill(connection, backup)
                except BaseException:
                    await _emptied(connection)
                    raise

    async def contents(self, backup: StoredBackup, identity: str) -> tuple[Content, ...]:  # noqa: ARG002 - known since the restore
        """See `Restorer.contents`."""
        return self._found[identity]

    async def swap(self, identity: str) -> str:
        """See `Restorer.swap`."""
        raise RestoreRefusedError(
            f"Redis servers are not swapped; the restored one is {self.into(identity)}",
            advice="Point the clients at it, or make the live server its replica.",
        )

    async def swapped(self, identity: str) -> str:  # noqa: ARG002 - it never is
        """See `Restorer.swapped`."""
        return ""

    async def discard(self, identity: str) -> None:
        """See `Restorer.discard`; only what this very process has filled."""
        if self._found.pop(identity, None) is not None:
            with as_restore():
                async with self._expect_place().connected() as connection:
                    await _emptied(connection)

    async def _fill(self, connection: RedisConnection, backup: StoredBackup) -> tuple[Content, ...]:
        size = backup.manifest.stream(DATA).plain_size
        feed = DumpFeed(connection.remote_host, size, lambda consume: backup.feed(DATA, consume))
        async with feed.listening(connection.local_host) as port:
            await connection.ask("REPLICAOF", connection.local_host, str(port))
            await _followed(connection, feed, f"{connection.local_host}:{port}")
            found = await _contents(self._expect_place())
            await connection.ask("REPLICAOF", "NO", "ONE")
            return found

    async def _complete_already(self, backup: StoredBackup, identity: str) -> tuple[Content, ...]:
        """What is there, if it is what an order that is repeated after a crash has restored already."""
        found = await _contents(self._expect_place())
        if differences(backup.manifest.source.contents, found):
            raise RestoreRefusedError(
                f"{self.into(identity)} holds {sum(content.rows for content in found)} keys; a restore needs it empty",
                advice="Name another server under restore_to, or empty this one yourself (FLUSHALL).",
            )
        return found

    def _expect_place(self) -> RedisServer:
        if self._place is None:
            raise RestoreRefusedError(
                "the target has no server to restore into",
                advice="Name an empty one under restore_to, or write the dump to a file by hand (docs/backup.md).",
            )
        return self._place


async def _contents(server: RedisServer) -> tuple[Content, ...]:
    async with RedisSource(server).capture() as capture:
        async for _ in capture.stream(DATA):
            pass
        return (await capture.facts()).contents


async def _expect_master(connection: RedisConnection, place: str) -> None:
    """What an earlier attempt left half-way follows a master that is gone: nothing in it is anybody's."""
    replication = await connection.info("replication")
    if replication.get("role") != "slave":
        return
    if replication.get("master_host") != connection.local_host or replication.get("master_link_status") == "up":
        raise RestoreRefusedError(
            f"{place} is the replica of {replication.get('master_host')}:{replication.get('master_port')}",
            advice="Name a server under restore_to that follows nobody.",
        )
    await _emptied(connection)


async def _keys(connection: RedisConnection) -> bool:
    return bool(await connection.info("keyspace"))


async def _followed(connection: RedisConnection, feed: DumpFeed, ours: str) -> None:
    """Wait until the server has loaded everything; how long that takes depends on the dump."""
    waited = 0.0
    while not await _follows(connection):
        if feed.failure is not None:
            raise feed.failure
        if not feed.served and waited > _CONTACT_S:
            raise RestoreFailedError(
                f"the server did not come for the dump to {ours}",
                advice="It has to be able to connect to the host of the backup service.",
            )
        await asyncio.sleep(_POLL_S)
        waited += _POLL_S


async def _follows(connection: RedisConnection) -> bool:
    """Whether it has loaded everything; while it loads, it says so instead of answering."""
    try:
        return (await connection.info("replication")).get("master_link_status") == "up"
    except RedisRefusedError as error:
        if str(error).startswith("LOADING"):
            return False
        raise


async def _emptied(connection: RedisConnection) -> None:
    with suppress(SourceFailedError, RedisRefusedError, OSError, EOFError, TimeoutError):  # as far as it answers
        await connection.ask("REPLICAOF", "NO", "ONE")
        await connection.ask("FLUSHALL")
