"""What can go wrong with runs beside the world being away."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from yaoki.errors import ErrorCode, FatalError, RejectedError, YaokiError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from yaoki.runs.ports import Recorded


class ResourceBusyError(RejectedError):
    """Another unfinished run holds the resource.

    Attributes:
        run_id: The run that holds it.
    """

    default_code: ClassVar[ErrorCode] = ErrorCode.CONFLICT

    def __init__(self, message: str, *, run_id: str) -> None:
        super().__init__(message)
        self.run_id = run_id


class PreconditionFailedError(RejectedError):
    """What an action needs does not hold, and it did nothing: the step is skipped."""

    default_code: ClassVar[ErrorCode] = ErrorCode.PRECONDITION


class ActionFailedError(YaokiError):
    """An action was tried in vain; parts of it may have happened, so that it is compensated."""

    default_code: ClassVar[ErrorCode] = ErrorCode.FAILED


class JournalDamagedError(FatalError):
    """A journal lacks an entry, has one that cannot be read, or contradicts itself.

    It is never taken for an empty or shorter run. The run ends as `error`.

    Attributes:
        last: Sequence of the newest entry, so that an ending can be appended; 0 when it is not known.
        sound: The entries before the damage.
    """

    def __init__(self, message: str, *, last: int = 0, sound: Sequence[Recorded] = ()) -> None:
        super().__init__(message)
        self.last = last
        self.sound = tuple(sound)


class JournalFromFutureError(FatalError):
    """A newer version wrote an entry of a type that this one does not know: leave the run to that version."""


class LeadershipLostError(YaokiError):
    """Another instance leads the run now."""

    default_code: ClassVar[ErrorCode] = ErrorCode.STALE_EPOCH
