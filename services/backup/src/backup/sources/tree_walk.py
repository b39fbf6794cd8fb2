"""Goes through a tree of files in one order, always the same for the same tree."""

# ruff: noqa: PTH208 - paths come by the million, and stay the text that they are

from __future__ import annotations

import os
import stat
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_WARNINGS: Final = 20


class Found(msgspec.Struct, frozen=True):
    """One entry of the tree.

    Attributes:
        name: Relative to the root, `.` for the root itself; names that are not UTF-8 carry surrogates.
        path: To open it.
        status: As `lstat` says.
    """

    name: str
    path: str
    status: os.stat_result


class Warnings:
    """Sentences about single files: some of them, and how many more there are."""

    def __init__(self) -> None:
        self._sentences: list[str] = []
        self._more = 0

    def add(self, name: str, what: str) -> None:
        """Say something about a file."""
        if len(self._sentences) < _MOST_WARNINGS:
            self._sentences.append(f"{shown(name)} {what}")
        else:
            self._more += 1

    def all(self) -> tuple[str, ...]:
        """What was said."""
        more = (f"{self._more} more files with such warnings",) if self._more else ()
        return (*self._sentences, *more)


def walk(root: str, excluded: tuple[str, ...], warnings: Warnings) -> Iterator[Found]:
    """Every entry below `root`, a directory before what is in it, names in the order of their bytes.

    What disappears while it is looked at is said and left out.

    Args:
        root: A directory.
        excluded: Patterns over relative names, as of a shell; a directory that fits is left out with its content.
        warnings: Told what disappeared.

    Raises:
        OSError: Something is there and cannot be looked at.
    """
    yield Found(".", root, os.lstat(root))
    pending = [_names(root)]
    prefixes = [""]
    while pending:
        if not pending[-1]:
            pending.pop()
            prefixes.pop()
            continue
        name = prefixes[-1] + pending[-1].pop()
        if any(fnmatchcase(name, pattern) for pattern in excluded):
            continue
        path = f"{root}/{name}"
        try:
            status = os.lstat(path)
            inside = _names(path) if stat.S_ISDIR(status.st_mode) else None
        except (FileNotFoundError, NotADirectoryError):
            warnings.add(name, "disappeared while the tree was read")
            continue
        yield Found(name, path, status)
        if inside is not None:
            pending.append(inside)
            prefixes.append(f"{name}/")


def shown(name: str) -> str:
    """A name as it can be printed."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _names(directory: str) -> list[str]:
    return sorted(os.listdir(directory), key=os.fsencode, reverse=True)
