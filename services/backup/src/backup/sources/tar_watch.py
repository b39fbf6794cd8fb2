"""Watches a tar archive go by without holding it: counts its files, and keeps the ends of a few that matter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_BLOCK: Final = 512
_NAME: Final = slice(0, 100)
_SIZE: Final = slice(124, 136)
_KIND: Final = slice(156, 157)
_MAGIC: Final = slice(257, 262)
_PREFIX: Final = slice(345, 500)
_LARGE: Final = 0x80
_FILE: Final = b"0"


class NoTarError(ValueError):
    """A header is none."""


class TarWatcher:
    """Takes an archive chunk by chunk, wherever the chunks are cut.

    Args:
        keep: Names of files, and how many of their last bytes are kept.
        entered: Told the name of each entry when its header passes.
    """

    def __init__(self, keep: Mapping[str, int], entered: Callable[[str], None] = lambda _name: None) -> None:
        self._keep = keep
        self._entered = entered
        self._header = bytearray()
        self._left = 0
        self._padding = 0
        self._name = ""
        self.kept: dict[str, bytes] = {}
        self.counted: dict[str, int] = {}
        """Lines of each kept file."""

    def take(self, chunk: bytes) -> None:
        """The next chunk.

        Raises:
            NoTarError: What should be a header is none.
        """
        view = memoryview(chunk)
        while view:
            if self._left:
                taken, view = view[: self._left], view[self._left :]
                self._left -= len(taken)
                self._content(taken)
            elif self._padding:
                skipped = min(self._padding, len(view))
                self._padding -= skipped
                view = view[skipped:]
            else:
                missing = _BLOCK - len(self._header)
                self._header += view[:missing]
                view = view[missing:]
                if len(self._header) == _BLOCK:
                    self._begin(bytes(self._header))
                    self._header.clear()

    def _begin(self, header: bytes) -> None:
        if not any(header):  # the archive's end is blocks of zeros
            return
        if header[_MAGIC] != b"ustar":
            raise NoTarError
        name, prefix = (header[part].split(b"\0", 1)[0].decode("utf-8", "replace") for part in (_NAME, _PREFIX))
        self._name = f"{prefix}/{name}" if prefix else name
        self._left = _number(header[_SIZE]) if header[_KIND] in {_FILE, b"\0"} else 0
        self._padding = -self._left % _BLOCK
        self._entered(self._name)
        if self._name in self._keep:
            self.kept[self._name] = b""
            self.counted[self._name] = 0

    def _content(self, taken: memoryview) -> None:
        if self._name in self._keep:
            data = bytes(taken)
            self.counted[self._name] += data.count(b"\n")
            self.kept[self._name] = (self.kept[self._name] + data)[-self._keep[self._name] :]


def _number(field: bytes) -> int:
    """A size, in octal digits or, where they do not suffice, in base 256."""
    if field[0] & _LARGE:
        return int.from_bytes(field, "big") & ~(_LARGE << 8 * (len(field) - 1))
    try:
        return int(field.strip(b"\0 ") or b"0", 8)
    except ValueError:
        raise NoTarError from None
