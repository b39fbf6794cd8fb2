"""Rehearses the restore of a Redis dump on a server of its own.

That server is the replica of nobody: a master would throw away the keys that have expired since the backup was taken,
and the copy could not be compared with what was recorded.
"""

from __future__ import annotations

import asyncio
import shlex
import shutil
import signal
import tempfile
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from yaoki.events.backup import BackupFailureClass, VerificationStage

from backup.errors import DamagedError, RestoreFailedError, SourceFailedError
from backup.pipeline.joint import Joint
from backup.sources.rdb import facts_of
from backup.sources.rdb_reader import RdbBrokenError, RdbReader, RdbUnknownError
from backup.sources.redis_dump import DATA, offer
from backup.sources.redis_server import RedisRefusedError, RedisServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import BinaryIO

    from backup.manifest import Content
    from backup.pipeline.channel import Channel
    from backup.sources.redis_server import Reply
    from backup.stored import StoredBackup

_FILE: Final = "dump.rdb"
_SOCKET: Final = "redis.sock"
_LOG: Final = "server.log"
_POLL_S: Final = 0.05
_STOP_S: Final = 5.0
_WAITING: Final = 2 << 20
_CHUNK: Final = 512 << 10
_LOADING: Final = ("LOADING", "BUSY")
_LATER_FORMAT: Final = b"Can't handle RDB format version"
_SETTINGS: Final = {
    "port": "0",  # only who may enter its directory reaches it
    "unixsocket": _SOCKET,
    "dbfilename": _FILE,
    "save": "",
    "appendonly": "no",  # with it, the dump would not be looked at
    "replicaof": "127.0.0.1 1",
    "replica-serve-stale-data": "yes",
    "stop-writes-on-bgsave-error": "no",
    "databases": "1024",
    "logfile": _LOG,
    "daemonize": "no",
}


class RedisRehearsal:
    """See `ports.Rehearsal`.

    Args:
        program: `redis-server`, of the version of the backups or a later one.
        directory: Where it may put its data, twice the size of the dump; the system's temporary one when None.
    """

    def __init__(self, program: str = "redis-server", directory: Path | None = None) -> None:
        self._program = program
        self._directory = directory

    @asynccontextmanager
    async def structure(self) -> AsyncIterator[DumpForm]:
        """See `Rehearsal.structure`: every record is passed over, up to the end."""
        async with Joint("structure", 2) as joint:
            yield DumpForm(joint)

    @asynccontextmanager
    async def restored(self, backup: StoredBackup) -> AsyncIterator[RestoredRedis]:
        """See `Rehearsal.restored`."""
        home = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="yaoki-", dir=self._directory))
        try:
            await _write(backup, home / _FILE)
            process = await self._start(home)
            try:
                server = RedisServer(socket=str(home / _SOCKET))
                await _loaded(server, process, home / _LOG)
                yield RestoredRedis(server, home / _FILE)
            finally:
                await _stop(process)
        finally:
            await asyncio.to_thread(shutil.rmtree, home, ignore_errors=True)

    async def _start(self, home: Path) -> asyncio.subprocess.Process:
        arguments = [part for name, value in _SETTINGS.items() for part in (f"--{name}", *(value.split() or [""]))]
        try:
            return await asyncio.create_subprocess_exec(
                self._program,
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                env={"LC_ALL": "C", "PATH": "/usr/local/bin:/usr/bin:/bin"},
                cwd=home,
                start_new_session=True,
            )
        except OSError as exc:
            raise RestoreFailedError(
                f"{self._program} cannot be started ({exc.strerror})",
                advice="Install Redis where backups are verified, or name the program under backup.redis_server.",
                failure=BackupFailureClass.SOURCE,
            ) from exc


class DumpForm:
    """See `ports.Structure`."""

    stream: Final = DATA

    def __init__(self, joint: Joint) -> None:
        self._joint = joint
        self._channel = joint.channel(_WAITING)
        self._reading = asyncio.ensure_future(joint.blocking(_pass_over, self._channel))

    async def take(self, chunk: bytes) -> None:
        """See `Structure.take`."""
        await self._joint.blocking(offer, self._channel, chunk)

    async def judge(self) -> None:
        """See `Structure.judge`; what this build does not know is left to the server that loads it."""
        self._channel.close()
        with suppress(RdbUnknownError):
            try:
                await self._reading
            except RdbBrokenError as error:
                raise DamagedError(
                    f"stream {DATA!r} is no whole dump of Redis: {error}",
                    advice="Take a new backup.",
                    stage=VerificationStage.STRUCTURE,
                ) from error


class RestoredRedis:
    """See `ports.RestoredCopy`."""

    def __init__(self, server: RedisServer, file: Path) -> None:
        self._server = server
        self._file = file

    async def contents(self) -> tuple[Content, ...]:
        """See `RestoredCopy.contents`: the server writes down what it has loaded."""
        async with self._server.connected() as connection:
            await connection.send("SAVE")
            if await connection.line(within=None) != b"+OK":
                raise RestoreFailedError(
                    "the restored server cannot write down what it has loaded",
                    advice="Make room below backup.scratch, for twice the dump.",
                    failure=BackupFailureClass.CAPACITY,
                )
        return await asyncio.to_thread(_contents_of, self._file)

    async def ask(self, question: str) -> str:
        """See `RestoredCopy.ask`: a command that reads, as one types it into redis-cli."""
        try:
            words = shlex.split(question)
            async with self._server.connected() as connection:
                return _text(await connection.ask(*words))
        except (ValueError, SourceFailedError, RedisRefusedError) as error:
            raise RestoreFailedError(
                f"the question {question[:100]!r} cannot be answered",
                advice="Give a command that only reads, such as EXISTS name.",
            ) from error


async def _write(backup: StoredBackup, path: Path) -> None:
    with path.open("wb") as file:

        async def consume(chunk: bytes) -> None:
            await asyncio.to_thread(_append, file, chunk)

        await backup.feed(DATA, consume)


def _append(file: BinaryIO, chunk: bytes) -> None:
    try:
        file.write(chunk)
        file.flush()
    except OSError as exc:
        raise RestoreFailedError(
            f"the dump cannot be written for its rehearsal ({exc.strerror})",
            advice="Make room below backup.scratch.",
            failure=BackupFailureClass.CAPACITY,
        ) from exc


async def _loaded(server: RedisServer, process: asyncio.subprocess.Process, log: Path) -> None:
    """Wait until it answers. A server that cannot load a dump ends by itself; how long it takes depends on the dump."""
    while process.returncode is None:
        with suppress(SourceFailedError):
            async with server.connected() as connection:
                if await _answers(connection.ask("PING")):
                    return
        await asyncio.sleep(_POLL_S)
    said = await asyncio.to_thread(lambda: log.read_bytes() if log.exists() else b"")
    later = _LATER_FORMAT in said
    raise RestoreFailedError(
        "redis-server is older than the dump" if later else "redis-server did not load the dump",
        advice="Verify with a later version of Redis."
        if later
        else "Take a new backup, and look at this one's damage.",
        failure=BackupFailureClass.SOURCE if later else BackupFailureClass.VERIFICATION,
    )


async def _answers(question: object) -> bool:
    try:
        await question  # type: ignore[misc]  # a coroutine
    except RedisRefusedError as error:
        if str(error).startswith(_LOADING):
            return False
        raise
    return True


async def _stop(process: asyncio.subprocess.Process) -> None:
    """Nothing of it is kept."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _STOP_S)


def _pass_over(channel: Channel) -> None:
    try:
        facts_of(RdbReader(channel.get))
    finally:
        channel.abort()


def _contents_of(path: Path) -> tuple[Content, ...]:
    with path.open("rb") as file, suppress(RdbUnknownError):
        return facts_of(RdbReader(lambda: file.read(_CHUNK))).contents
    return ()


def _text(reply: Reply) -> str:
    if isinstance(reply, list):
        return "\n".join(_text(one) for one in reply)
    if reply is None:
        return ""
    return reply.decode("utf-8", "replace") if isinstance(reply, bytes) else str(reply)
