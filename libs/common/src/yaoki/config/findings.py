"""What a check looks at and what it finds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from yaoki.config.mistakes import did_you_mean, one_of, shown

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from yaoki.config.model import Config


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A mistake without its line.

    Attributes:
        path: Where to show it.
        also: Other paths it depends on; when one of them is itself mistaken the finding is dropped.
    """

    path: str
    found: str
    expected: str
    hint: str = ""
    also: tuple[str, ...] = ()


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What the checks look at.

    Attributes:
        names: Keys that stand in each mapping of the file, those of broken entries included.
        written: Paths that stand in the file.
        references: Path, name and mapping of every place that names an entry of another section, those in broken
            entries included.
        actions: Known actions; None: not checked.
    """

    config: Config
    names: Mapping[str, Collection[str]]
    written: Collection[str]
    references: Collection[tuple[str, str, str]]
    actions: Collection[str] | None

    def unknown(self, path: str, name: str | None, mapping: str) -> Iterator[Finding]:
        """A finding when `name` is no key of `mapping`."""
        known = sorted(self.names.get(mapping, ()))
        if name is not None and name not in known:
            yield Finding(
                path=path,
                found=shown(name),
                expected=f"a name out of {mapping}: {one_of(known)}",
                hint=did_you_mean(name, known),
            )
