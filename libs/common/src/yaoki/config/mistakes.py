"""Mistakes in a configuration file: one sentence each, all of them at once."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

import msgspec
from typing_extensions import override

from yaoki.errors import RejectedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_LONGEST_SHOWN = 60


class Mistake(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong.

    Attributes:
        path: Where, e.g. `targets.orders-db.timeout` or `nats.servers[0]`; empty for the file as a whole.
        found: What stands there, as people read it. Never the value of a secret.
        expected: What should stand there.
        line: In the file, from 1; None when the file could not be read.
        hint: What to do, when that is known better than `expected` says it.
    """

    path: str
    found: str
    expected: str
    line: int | None = None
    hint: str = ""

    @override
    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line else ""
        what = f"{self.path}: " if self.path else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{where}{what}found {self.found}, expected {self.expected}{hint}"


class ConfigErrors(RejectedError):  # noqa: N818 - it is several errors, as in ExceptionGroup
    """The configuration cannot be used; `mistakes` lists everything that is wrong with it, in file order."""

    def __init__(self, file: str, mistakes: Iterable[Mistake]) -> None:
        self.file = file
        self.mistakes = sorted(mistakes, key=lambda mistake: (mistake.line or 0, mistake.path))
        count = len(self.mistakes)
        lines = "\n".join(f"  {mistake}" for mistake in self.mistakes)
        super().__init__(f"{file}: {count} mistake{'s' if count != 1 else ''} in the configuration\n{lines}")


def shown(value: object) -> str:
    """`value` for a message: quoted text, shortened; never call it with a secret."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?` when something close is known, else an empty string."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.55)
    return f"did you mean '{close[0]}'?" if close else ""


def one_of(names: Sequence[str]) -> str:
    """`a`, `a or b`, `a, b or c`."""
    if not names:
        return "nothing (there are none)"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
