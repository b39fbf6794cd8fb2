"""Facts about messages that could not be handled."""

from enum import StrEnum
from typing import ClassVar

from yaoki.events.base import Event


class Severity(StrEnum):
    """How soon a person has to look.

    CRITICAL: at once, nobody else will do it. WARNING: soon.
    """

    CRITICAL = "CRITICAL"
    WARNING = "WARNING"


class MessageDeadLettered(Event, frozen=True, kw_only=True):
    """A message was put aside; its body lies in the stream DLQ.

    Attributes:
        service: Who could not handle it.
        original_subject: Where it was published.
        reason: `invalid`, `rejected`: it was refused for what it is. `max-deliver`, `terminated`: nobody managed to
            handle it.
        severity: CRITICAL when nothing was wrong with the message: what it asked for is not done, and will not be.
        error: One sentence, without the body.
        dlq_sequence: Where it lies in the stream DLQ.
    """

    context: ClassVar[str] = "delivery"
    entity_field: ClassVar[str] = "service"

    service: str
    original_subject: str
    reason: str
    error: str
    dlq_sequence: int
    severity: Severity = Severity.CRITICAL
