"""The error tree: what the caller may do about a failure, not where it came from.

YaokiError
├── TransientError   try the same thing again later; the outcome of this attempt may be unknown
│   └── ConflictError    somebody else changed it first; read again, decide again
├── RejectedError    the request is wrong; trying it again changes nothing
│   └── StaleEpochError  the order was given by a leader that has been replaced
└── FatalError       this process must not go on

Adapters translate driver errors into these at their boundary (`raise ... from exc`). The code is stable and
meant for programs, the sentence is meant for people and says what to do. Neither ever carries a message body
or a secret.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class ErrorCode(StrEnum):
    """Stable names of what went wrong; they appear in replies, events and metrics."""

    UNAVAILABLE = "unavailable"
    TIMEOUT = "timeout"
    CONFLICT = "conflict"
    INVALID = "invalid"
    NOT_FOUND = "not_found"
    NOT_ALLOWED = "not_allowed"
    STALE_EPOCH = "stale_epoch"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    PRECONDITION = "precondition"
    UNSAFE = "unsafe"
    FAILED = "failed"
    INTERNAL = "internal"


class YaokiError(Exception):
    """Root of all errors that Yaoki raises on purpose.

    Args:
        message: One sentence for a person: what was found, what was expected, what to do.
        code: Stable name; defaults to the class's own.
    """

    default_code: ClassVar[ErrorCode] = ErrorCode.INTERNAL

    def __init__(self, message: str, *, code: ErrorCode | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code


class TransientError(YaokiError):
    """The world was not ready. Retry with the same identity: the attempt may still take effect."""

    default_code = ErrorCode.UNAVAILABLE


class ConflictError(TransientError):
    """A compare-and-set lost. Nothing was written; read again and decide again."""

    default_code = ErrorCode.CONFLICT


class RejectedError(YaokiError):
    """The request itself is wrong. Nothing was done, and repeating it will not help."""

    default_code = ErrorCode.INVALID


class StaleEpochError(RejectedError):
    """An order carried an epoch below one that this worker has already obeyed."""

    default_code = ErrorCode.STALE_EPOCH


class FatalError(YaokiError):
    """The process cannot keep its promises any longer and must end."""
