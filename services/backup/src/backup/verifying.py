"""Proves one backup: reads it, restores it into a throw-away place, and compares what is there with what was recorded.

Stops at the first stage that fails. A failure counts against the backup only when the backup decided it; a missing
key, a store that is away or a server that does not start say nothing about it, and are written down as such.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

import msgspec
from yaoki.events.backup import BackupFailureClass, VerificationStage

from backup.comparing import differences
from backup.errors import BackupError, DamagedError, ObjectMissingError, RestoreFailedError
from backup.manifest import VerifyRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from yaoki.clock import Clock

    from backup.ports import Rehearsal, RestoredCopy
    from backup.stored import StoredBackup

_SHOWN: Final = 5
_READING: Final = (VerificationStage.ENCRYPTION, VerificationStage.COMPRESSION, VerificationStage.STRUCTURE)
# What speaks of this machine or of the way to the store, not of the backup.
_ELSEWHERE: Final = (
    BackupFailureClass.AUTHENTICATION,
    BackupFailureClass.CAPACITY,
    BackupFailureClass.CONNECTION,
    BackupFailureClass.SOURCE,
)


class Assertion(msgspec.Struct, frozen=True, kw_only=True):
    """Something that has to hold in every restored copy.

    Attributes:
        name: For reports.
        question: One SQL query with one value.
        expect: The answer as text.
    """

    name: str
    question: str
    expect: str = "true"


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What a verification found.

    Attributes:
        record: As it is kept beside the backup.
        failure: Class of what went wrong; None when nothing did.
        advice: What to do then.
    """

    record: VerifyRecord
    failure: BackupFailureClass | None = None
    advice: str = ""


class Verifying:
    """Proves backups of one kind.

    Args:
        rehearsal: Restores them.
        clock: For times.
        instance: Name of this process.
    """

    def __init__(self, rehearsal: Rehearsal, clock: Clock, instance: str) -> None:
        self._rehearsal = rehearsal
        self._clock = clock
        self._instance = instance

    async def verify(self, backup: StoredBackup, assertions: Sequence[Assertion] = ()) -> Verification:
        """Go through all stages. Never raises what a backup or its surroundings can be at fault for."""
        progress = _Progress(self._clock)
        try:
            await self._read(backup, progress)
            await self._restore(backup, assertions, progress)
        except BackupError as error:
            return self._failed(backup, progress, error)
        return Verification(record=self._record(backup, progress, conclusive=True))

    async def _read(self, backup: StoredBackup, progress: _Progress) -> None:
        progress.begin(VerificationStage.STORED_BYTES)
        await backup.check_stored()
        progress.begin(*_READING)
        async with self._rehearsal.structure() as structure:
            for stream in backup.manifest.streams:
                await backup.feed(stream.name, structure.take if stream.name == structure.stream else _discard)
            await structure.judge()

    async def _restore(self, backup: StoredBackup, assertions: Sequence[Assertion], progress: _Progress) -> None:
        progress.begin(VerificationStage.RESTORE)
        async with AsyncExitStack() as stack:
            copy = await stack.enter_async_context(self._rehearsal.restored(backup))
            progress.begin(VerificationStage.CONTENT)
            await _compare(backup, copy)
            progress.restored()
            progress.begin(VerificationStage.ASSERTIONS)
            for assertion in assertions:
                await _hold(assertion, copy)
            progress.end()

    def _failed(self, backup: StoredBackup, progress: _Progress, error: BackupError) -> Verification:
        stage = error.stage if isinstance(error, DamagedError) else progress.stage
        progress.stop_before(stage)
        record = self._record(
            backup, progress, conclusive=_is_conclusive(error), failed_stage=stage, message=error.message
        )
        return Verification(record=record, failure=error.failure, advice=error.advice)

    def _record(
        self,
        backup: StoredBackup,
        progress: _Progress,
        *,
        conclusive: bool,
        failed_stage: VerificationStage | None = None,
        message: str = "",
    ) -> VerifyRecord:
        return VerifyRecord(
            backup_id=backup.manifest.backup_id,
            verified_at=self._clock.now(),
            instance=self._instance,
            conclusive=conclusive,
            stages=tuple(progress.passed),
            failed_stage=failed_stage,
            message=message,
            rto_s=progress.rto_s,
            durations_s=progress.durations_s,
        )


class _Progress:
    """Which stages have passed, and how long they took. Stages that are read in one pass share its time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._current: tuple[VerificationStage, ...] = ()
        self._since = clock.monotonic()
        self._restore_began = 0.0
        self.passed: list[VerificationStage] = []
        self.durations_s: dict[str, float] = {}
        self.rto_s: float | None = None

    @property
    def stage(self) -> VerificationStage:
        """The one that is looked at."""
        return self._current[-1]

    def begin(self, *stages: VerificationStage) -> None:
        """The stages before have passed; these begin."""
        self.end()
        self._current = stages
        if VerificationStage.RESTORE in stages:
            self._restore_began = self._since

    def end(self) -> None:
        """The current stages have passed."""
        now = self._clock.monotonic()
        self.passed += self._current
        self.durations_s |= {stage.value: round(now - self._since, 3) for stage in self._current}
        self._current = ()
        self._since = now

    def restored(self) -> None:
        """The copy is complete and compared: this is what a recovery would have taken."""
        self.rto_s = round(self._clock.monotonic() - self._restore_began, 3)

    def stop_before(self, stage: VerificationStage) -> None:
        """Of stages that are read in one pass, those before the failed one have passed."""
        order = list(VerificationStage)
        self.passed += [one for one in self._current if order.index(one) < order.index(stage)]


async def _discard(_chunk: bytes) -> None:
    """Reading is the test."""


async def _compare(backup: StoredBackup, copy: RestoredCopy) -> None:
    found = differences(backup.manifest.source.contents, await copy.contents())
    if found:
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise DamagedError(
            f"the restored copy is another one: {'; '.join(found[:_SHOWN])}{more}",
            advice="Do not rely on this backup; take a new one, and look at what was restored with other versions.",
            stage=VerificationStage.CONTENT,
        )


async def _hold(assertion: Assertion, copy: RestoredCopy) -> None:
    found = await copy.ask(assertion.question)
    if found != assertion.expect:
        raise DamagedError(
            f"assertion {assertion.name!r} does not hold: found {found[:100]!r}, expected {assertion.expect[:100]!r}",
            advice="Look whether the data was wrong when the backup was taken.",
            stage=VerificationStage.ASSERTIONS,
        )


def _is_conclusive(error: BackupError) -> bool:
    """Whether the backup itself is at fault."""
    if isinstance(error, DamagedError | ObjectMissingError):
        return error.failure not in _ELSEWHERE
    return isinstance(error, RestoreFailedError) and error.failure is BackupFailureClass.VERIFICATION
