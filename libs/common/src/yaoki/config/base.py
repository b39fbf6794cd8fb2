"""What every section of the configuration is."""

from typing import ClassVar

import msgspec


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A mapping in the file: its fields are the keys that may stand there, all others are mistakes.

    Attributes:
        shorthand: Name of the field that a bare value stands for; empty when only a mapping will do.
    """

    shorthand: ClassVar[str] = ""
