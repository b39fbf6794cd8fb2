"""Programs that run before and after a backup: those of the allow-list, without a shell, for a limited time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from backup.adapters.children import run
from backup.errors import SourceFailedError

if TYPE_CHECKING:
    from collections.abc import Collection

    from yaoki.config.backup import BackupHook, BackupHooks

_ADVICE: Final = "Run the hook by hand as the user of the backup service, and look at what it says."


class ProgramHooks:
    """See `ports.Hooks`.

    A program learns from its environment what it runs for: `YAOKI_BACKUP_TARGET`, `YAOKI_BACKUP_ID`, and afterwards
    `YAOKI_BACKUP_OUTCOME`; it inherits nothing else.

    Args:
        target: Name of the target.
        hooks: Of its configuration.
        allowed: Programs that may run.
    """

    def __init__(self, target: str, hooks: BackupHooks, allowed: Collection[str]) -> None:
        self._target = target
        self._hooks = hooks
        self._allowed = allowed

    async def before(self, backup_id: str) -> None:
        """See `Hooks.before`."""
        await self._run("before", self._hooks.before, {"YAOKI_BACKUP_ID": backup_id})

    async def after(self, backup_id: str, outcome: str) -> None:
        """See `Hooks.after`."""
        about = {"YAOKI_BACKUP_ID": backup_id, "YAOKI_BACKUP_OUTCOME": outcome}
        await self._run("after", self._hooks.after, about)

    async def _run(self, when: str, hook: BackupHook | None, about: dict[str, str]) -> None:
        if hook is None:
            return
        name = f"the hook {when} backups of {self._target}"
        if hook.argv[0] not in self._allowed:
            raise SourceFailedError(
                f"{name} is {hook.argv[0]}, which is not allowed",
                advice="List the program under backup.allowed_hooks, if it may run here.",
            )
        try:
            async with asyncio.timeout(hook.timeout):
                await run(hook.argv, {"YAOKI_BACKUP_TARGET": self._target, **about})
        except TimeoutError:
            raise SourceFailedError(
                f"{name} took longer than {hook.timeout:g} s and was killed", advice=_ADVICE
            ) from None
        except SourceFailedError as error:
            raise SourceFailedError(f"{name} failed: {error.message}", advice=_ADVICE) from error
