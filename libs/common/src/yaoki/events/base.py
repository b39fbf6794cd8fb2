"""What every event is."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from yaoki.subjects import Subjects, kebab


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag=True):
    """A fact, named in the past tense, published once and never changed.

    The body on the wire is this struct as JSON, with `type` naming the class; identity, time, correlation and
    trace travel in headers (`yaoki.messaging.envelope`). Readers ignore fields they do not know, so a new
    field needs a default and a breaking change is a new class beside the old one.

    Attributes:
        context: Third token of the subject, e.g. `probe`.
        entity_field: Name of the field whose value is the fourth token, e.g. `target`.
    """

    context: ClassVar[str] = ""
    entity_field: ClassVar[str] = ""

    @property
    def entity(self) -> str:
        """The thing that this fact is about."""
        return str(getattr(self, self.entity_field))

    @classmethod
    def event_name(cls) -> str:
        """Last token of the subject."""
        return kebab(cls.__name__)

    def subject(self, subjects: Subjects) -> str:
        """Where this event is published."""
        return subjects.event(self.context, self.entity, self.event_name())
