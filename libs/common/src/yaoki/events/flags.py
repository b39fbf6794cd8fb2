"""Facts about the flags that applications obey."""

from typing import ClassVar

from yaoki.events.base import Event


class FlagChanged(Event, frozen=True, kw_only=True):
    """A flag has a new value.

    Attributes:
        flag: Key in the KV bucket `flags`, with `.` written as `-`.
        value: The new value as JSON text.
        by: The run or person that set it.
        reason: One sentence.
    """

    context: ClassVar[str] = "flags"
    entity_field: ClassVar[str] = "flag"

    flag: str
    value: str
    by: str
    reason: str = ""
