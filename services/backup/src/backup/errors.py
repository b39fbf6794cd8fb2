"""Why a backup, restore or verification failed: a class that programs act on, and a sentence that says what to do."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

from yaoki.errors import ErrorCode, RejectedError, TransientError, YaokiError
from yaoki.events.backup import BackupFailureClass, VerificationStage

if TYPE_CHECKING:
    from collections.abc import Iterator


class BackupError(YaokiError):
    """Root of what can go wrong with a backup.

    Args:
        message: What was found and what was expected; never a secret, never a child's raw output.
        advice: What a person does about it.
        failure: Class that is published; the error's own when left out.
    """

    default_code: ClassVar[ErrorCode] = ErrorCode.FAILED
    default_failure: ClassVar[BackupFailureClass] = BackupFailureClass.STORAGE

    def __init__(self, message: str, *, advice: str, failure: BackupFailureClass | None = None) -> None:
        super().__init__(message)
        self.advice = advice
        self.failure = failure or self.default_failure


class StoreUnavailableError(BackupError, TransientError):
    """The store did not answer, or answered that it cannot now. The same call may be repeated."""

    default_failure: ClassVar[BackupFailureClass] = BackupFailureClass.CONNECTION


class StoreRefusedError(BackupError, RejectedError):
    """The store refused; repeating the call changes nothing."""


class ObjectMissingError(StoreRefusedError):
    """There is no object of this key."""

    default_code: ClassVar[ErrorCode] = ErrorCode.NOT_FOUND


class ObjectExistsError(StoreRefusedError):
    """There is another object of this key already; what is stored is never overwritten."""

    default_code: ClassVar[ErrorCode] = ErrorCode.CONFLICT


class ObjectLockedError(StoreRefusedError):
    """A retention period or a legal hold of the store keeps the object; it lapses by itself or not at all."""

    default_code: ClassVar[ErrorCode] = ErrorCode.PRECONDITION


class SourceFailedError(BackupError):
    """What is backed up could not be read completely."""

    default_failure: ClassVar[BackupFailureClass] = BackupFailureClass.SOURCE


class DamagedError(BackupError):
    """Stored bytes are not those that were written, or cannot be read with the key at hand.

    Attributes:
        stage: The check that failed first.
    """

    default_failure: ClassVar[BackupFailureClass] = BackupFailureClass.VERIFICATION

    def __init__(
        self, message: str, *, advice: str, stage: VerificationStage, failure: BackupFailureClass | None = None
    ) -> None:
        super().__init__(message, advice=advice, failure=failure)
        self.stage = stage


class RestoreRefusedError(BackupError, RejectedError):
    """The restore was not begun, and nothing was changed."""

    default_code: ClassVar[ErrorCode] = ErrorCode.PRECONDITION
    default_failure: ClassVar[BackupFailureClass] = BackupFailureClass.VERIFICATION


class RestoreFailedError(BackupError):
    """The restore did not come to its end; the live data is untouched."""

    default_failure: ClassVar[BackupFailureClass] = BackupFailureClass.VERIFICATION


@contextmanager
def as_restore() -> Iterator[None]:
    """A program that fails within a restore is no source: its class stays, the kind of error changes."""
    try:
        yield
    except SourceFailedError as error:
        raise RestoreFailedError(error.message, advice=error.advice, failure=error.failure) from error
