"""The primitives of Redis's dump format, read from chunks that come one after the other, in constant memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_VERSION_DIGITS: Final = 4
_MOST_NAME_BYTES: Final = 512 << 20
_INTEGERS: Final = {0: 1, 1: 2, 2: 4}
"""Bytes of a number, by how it is encoded."""
_COMPRESSED: Final = 3
_LITERAL: Final = 1 << 5


class RdbBrokenError(Exception):
    """A dump is cut off, or is none; the message says where."""


class RdbUnknownError(Exception):
    """A dump contains what this build does not know; the message names it."""


class RdbReader:
    """A dump, from its beginning.

    Args:
        more: The next chunk; empty at the end.
    """

    def __init__(self, more: Callable[[], bytes | bytearray]) -> None:
        self._more = more
        self._chunk: bytes | bytearray = b""
        self._at = 0
        self._passed = 0

    def version(self, magic: bytes) -> int:
        """Of the format, out of the first nine bytes."""
        head = self.read(len(magic) + _VERSION_DIGITS)
        digits = head[len(magic) :]
        if not head.startswith(magic) or not digits.isdigit():
            raise RdbBrokenError("it does not begin as a dump of Redis does")
        return int(digits)

    def byte(self) -> int:
        """One byte."""
        if self._at >= len(self._chunk):
            self._refill()
        value = self._chunk[self._at]
        self._at += 1
        return value

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes."""
        end = self._at + size
        if end <= len(self._chunk):
            taken = bytes(self._chunk[self._at : end])
            self._at = end
            return taken
        pieces = bytearray()
        while len(pieces) < size:
            if self._at >= len(self._chunk):
                self._refill()
            piece = self._chunk[self._at : self._at + size - len(pieces)]
            self._at += len(piece)
            pieces += piece
        return bytes(pieces)

    def skip(self, size: int) -> None:
        """Pass over `size` bytes, however many."""
        while size > len(self._chunk) - self._at:
            size -= len(self._chunk) - self._at
            self._at = len(self._chunk)
            self._refill()
        self._at += size

    def length(self) -> int:
        """A length; whatever is no plain one is an error here."""
        value, encoded = self._length()
        if encoded:
            raise RdbBrokenError(f"an encoded string instead of a length at byte {self._place()}")
        return value

    def string(self) -> bytes:
        """A string as it was set, whichever way it is encoded."""
        value, encoded = self._length()
        if not encoded:
            return self.read(self._sane(value))
        if value in _INTEGERS:
            return b"%d" % int.from_bytes(self.read(_INTEGERS[value]), "little", signed=True)
        if value != _COMPRESSED:
            raise RdbUnknownError(f"strings of encoding {value}")
        compressed, plain = self.length(), self.length()
        return _decompressed(self.read(self._sane(compressed)), self._sane(plain))

    def skip_string(self) -> None:
        """Pass over a string."""
        value, encoded = self._length()
        if not encoded:
            self.skip(value)
        elif value in _INTEGERS:
            self.skip(_INTEGERS[value])
        elif value == _COMPRESSED:
            compressed = self.length()
            self.length()
            self.skip(compressed)
        else:
            raise RdbUnknownError(f"strings of encoding {value}")

    def expect_end(self) -> None:
        """Nothing may follow."""
        if self._at < len(self._chunk) or self._more():
            raise RdbBrokenError(f"bytes follow its end at byte {self._place()}")

    def _length(self) -> tuple[int, bool]:
        """The number, and whether it says how a string is encoded instead of how long it is."""
        first = self.byte()
        kind, rest = first >> 6, first & 0x3F
        if kind == 0:
            return rest, False
        if kind == 1:
            return rest << 8 | self.byte(), False
        if kind == 2:  # noqa: PLR2004 - two bits that say how the length goes on
            return int.from_bytes(self.read(8 if rest else 4), "big"), False
        return rest, True

    def _sane(self, size: int) -> int:
        """What is kept in memory is a name: Redis allows it 512 MiB, and damage could ask for more."""
        if size > _MOST_NAME_BYTES:
            raise RdbBrokenError(f"a name of {size} bytes at byte {self._place()}")
        return size

    def _place(self) -> int:
        return self._passed + self._at

    def _refill(self) -> None:
        self._passed += len(self._chunk)
        self._chunk, self._at = self._more(), 0
        if not self._chunk:
            raise RdbBrokenError(f"it ends at byte {self._passed}, in the middle")


def _decompressed(data: bytes, size: int) -> bytes:
    """LZF: runs of literal bytes, and copies of what stands at most 8 KiB before."""
    plain = bytearray()
    at = 0
    try:
        while at < len(data):
            control = data[at]
            at += 1
            if control < _LITERAL:
                plain += data[at : at + control + 1]
                at += control + 1
                continue
            length = control >> 5
            if length == 7:  # noqa: PLR2004 - all three bits: the length goes on in the next byte
                length += data[at]
                at += 1
            start = len(plain) - ((control & 0x1F) << 8) - data[at] - 1
            at += 1
            if start < 0:
                break
            for place in range(start, start + length + 2):  # may overlap what it appends
                plain.append(plain[place])
    except IndexError:
        plain.clear()
    if len(plain) != size:
        raise RdbBrokenError("a compressed name does not decompress to its length")
    return bytes(plain)
