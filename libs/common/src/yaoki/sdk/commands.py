"""What recovery may order of an application, carried out in its process and acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import msgspec
import structlog

from yaoki.commands.application import (
    ApplicationCommand,
    CollectGarbage,
    CommandDone,
    ResetPools,
    WarmCache,
    application_service,
)
from yaoki.errors import ErrorCode, RejectedError, TransientError, YaokiError
from yaoki.plans import JsonObject
from yaoki.tasks import end_tasks

if TYPE_CHECKING:
    from typing import Any

    from yaoki.clock import IdSource
    from yaoki.messaging import Messaging

C = TypeVar("C", bound=ApplicationCommand)

CommandHandler = Callable[[C], Awaitable[JsonObject | None]]

COMMANDS: tuple[type[ApplicationCommand], ...] = (CollectGarbage, ResetPools, WarmCache)
_REMEMBERED = 1000
_log = structlog.get_logger(__name__)


class CommandDesk:
    """Carries each command out once, whatever arrives twice.

    What was done is remembered in memory: after a restart of the application its pools are new, its garbage is gone
    and a repeat does no harm.

    Args:
        instance: Name of this process.
        ids: For commands without an id.
    """

    def __init__(self, instance: str, ids: IdSource) -> None:
        self._instance = instance
        self._ids = ids
        self._handlers: dict[type[ApplicationCommand], CommandHandler[Any]] = {}
        self._running: dict[str, asyncio.Task[CommandDone]] = {}
        self._done: OrderedDict[str, CommandDone] = OrderedDict()

    def on(self, command: type[C], handler: CommandHandler[C]) -> None:
        """Have `handler` carry `command` out; it replaces the one before."""
        if command not in COMMANDS:
            known = ", ".join(kind.__name__ for kind in COMMANDS)
            raise RejectedError(f"{command.__name__} is no command to applications; expected one of {known}")
        self._handlers[command] = handler

    async def carry_out(self, command: ApplicationCommand) -> CommandDone:
        """Carry a command out, or wait for its first arrival to be done, or answer what was done then.

        Raises:
            RejectedError: PRECONDITION: this application has nothing to do it with. INVALID: the id was used for
                another command.
            YaokiError: FAILED: it was tried in vain, and the next arrival tries again.
            TransientError: TIMEOUT: it was not done in time, likewise.
        """
        handler = self._handlers.get(type(command))
        if handler is None:
            raise RejectedError(
                f"this application does not carry out {command.verb}; register it with "
                f"yaoki.on_command({type(command).__name__}, handler)",
                code=ErrorCode.PRECONDITION,
            )
        command_id = command.command_id or self._ids.new()
        key = f"{command.verb} {command_id}"
        if (done := self._done.get(key)) is not None:
            return msgspec.structs.replace(done, repeated=True)
        task = self._running.get(key)
        first = task is None
        if task is None:
            task = asyncio.create_task(self._run(command, command_id, handler), name=f"command {key}")
            self._running[key] = task
            task.add_done_callback(lambda ended: self._note(key, ended))
        # Whoever asked first may give up; the others, and the repeat, still get the answer.
        done = await asyncio.shield(task)
        return done if first else msgspec.structs.replace(done, repeated=True)

    async def stop(self) -> None:
        """Cancel what is under way."""
        await end_tasks(list(self._running.values()))

    async def _run(self, command: ApplicationCommand, command_id: str, handler: CommandHandler[Any]) -> CommandDone:
        began = time.monotonic()
        _log.info("command", command=command.verb, command_id=command_id, by=command.by, reason=command.reason)
        try:
            async with asyncio.timeout(command.timeout_s):
                result = await handler(command)
        except TimeoutError as error:
            raise TransientError(
                f"{command.verb} was not done within {command.timeout_s:g} s", code=ErrorCode.TIMEOUT
            ) from error
        except YaokiError:
            raise
        except Exception as error:
            _log.exception("command failed", command=command.verb, command_id=command_id)
            # The text of a foreign error may hold what must not leave the process.
            raise YaokiError(f"{command.verb} failed: {type(error).__name__}", code=ErrorCode.FAILED) from error
        return CommandDone(
            command_id=command_id,
            instance=self._instance,
            result=result or {},
            took_s=round(time.monotonic() - began, 6),
        )

    def _note(self, key: str, task: asyncio.Task[CommandDone]) -> None:
        del self._running[key]
        if task.cancelled() or task.exception() is not None:
            return
        self._done[key] = task.result()
        if len(self._done) > _REMEMBERED:
            self._done.popitem(last=False)


def serve_commands(messaging: Messaging, desk: CommandDesk, application: str) -> None:
    """Answer every command to this application in the name of this process."""
    for command in COMMANDS:
        messaging.serve(command, desk.carry_out, service=application_service(application))


async def collect_garbage(_: CollectGarbage) -> JsonObject:
    """Run Python's collector and have the allocator give free pages back; how many objects were freed."""
    collected = gc.collect()
    with contextlib.suppress(AttributeError, OSError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)
    return {"collected": collected}
