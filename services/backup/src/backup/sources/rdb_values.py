"""Passes over the values of a Redis dump: one row for each way in which a value is written.

The numbers are those of `RDB_TYPE_*` in https://github.com/redis/redis/blob/unstable/src/rdb.h.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from backup.sources.rdb_reader import RdbBrokenError

if TYPE_CHECKING:
    from collections.abc import Callable

    from backup.sources.rdb_reader import RdbReader

_STREAM_ID_BYTES: Final = 16
_TIME_BYTES: Final = 8
_SECOND_STREAM: Final = 2
_THIRD_STREAM: Final = 3


def pass_over(reader: RdbReader, kind: int) -> None:
    """Pass over one value.

    Args:
        reader: At the value.
        kind: A key of `FAMILIES`.
    """
    _VALUES[kind](reader)


def pass_over_module(reader: RdbReader) -> None:
    """What a module wrote: its identity, then marked pieces up to an end mark."""
    reader.length()
    while (mark := reader.length()) != 0:
        if mark not in _MODULE_PIECES:
            raise RdbBrokenError(f"a piece of a module with mark {mark}")
        _MODULE_PIECES[mark](reader)


def _one(reader: RdbReader) -> None:
    reader.skip_string()


def _strings(each: int) -> Callable[[RdbReader], None]:
    def several(reader: RdbReader) -> None:
        for _ in range(each * reader.length()):
            reader.skip_string()

    return several


def _scores_as_text(reader: RdbReader) -> None:
    for _ in range(reader.length()):
        reader.skip_string()
        size = reader.byte()
        reader.skip(size if size < 253 else 0)  # noqa: PLR2004 - from here on it stands for nan and the infinities


def _scores(reader: RdbReader) -> None:
    for _ in range(reader.length()):
        reader.skip_string()
        reader.skip(8)


def _quicklist(reader: RdbReader) -> None:
    for _ in range(reader.length()):
        reader.length()
        reader.skip_string()


def _hash_with_expiry(reader: RdbReader) -> None:
    reader.skip(_TIME_BYTES)
    for _ in range(reader.length()):
        reader.length()
        reader.skip_string()
        reader.skip_string()


def _listpack_with_expiry(reader: RdbReader) -> None:
    reader.skip(_TIME_BYTES)
    reader.skip_string()


def _stream(version: int) -> Callable[[RdbReader], None]:
    def stream(reader: RdbReader) -> None:
        for _ in range(2 * reader.length()):  # pairs of first identity and entries
            reader.skip_string()
        for _ in range(8 if version >= _SECOND_STREAM else 3):  # how long it is, and identities that it remembers
            reader.length()
        for _ in range(reader.length()):
            _consumer_group(reader, version)

    return stream


def _consumer_group(reader: RdbReader, version: int) -> None:
    reader.skip_string()
    for _ in range(3 if version >= _SECOND_STREAM else 2):
        reader.length()
    for _ in range(reader.length()):  # delivered and not acknowledged
        reader.skip(_STREAM_ID_BYTES + _TIME_BYTES)
        reader.length()
    for _ in range(reader.length()):  # consumers
        reader.skip_string()
        reader.skip(2 * _TIME_BYTES if version >= _THIRD_STREAM else _TIME_BYTES)
        reader.skip(_STREAM_ID_BYTES * reader.length())


_MODULE_PIECES: Final[dict[int, Callable[[RdbReader], object]]] = {
    1: lambda reader: reader.length(),
    2: lambda reader: reader.length(),
    3: lambda reader: reader.skip(4),
    4: lambda reader: reader.skip(8),
    5: _one,
}

_STRING, _LIST, _SET, _ZSET, _HASH, _STREAM, _MODULE = (
    b"string",
    b"list",
    b"set",
    b"zset",
    b"hash",
    b"stream",
    b"module",
)

_KINDS: Final[tuple[tuple[int, bytes, Callable[[RdbReader], None]], ...]] = (
    (0, _STRING, _one),
    (1, _LIST, _strings(1)),
    (2, _SET, _strings(1)),
    (3, _ZSET, _scores_as_text),
    (4, _HASH, _strings(2)),
    (5, _ZSET, _scores),
    (7, _MODULE, pass_over_module),
    (9, _HASH, _one),
    (10, _LIST, _one),
    (11, _SET, _one),
    (12, _ZSET, _one),
    (13, _HASH, _one),
    (14, _LIST, _strings(1)),
    (15, _STREAM, _stream(1)),
    (16, _HASH, _one),
    (17, _ZSET, _one),
    (18, _LIST, _quicklist),
    (19, _STREAM, _stream(2)),
    (20, _SET, _one),
    (21, _STREAM, _stream(3)),
    (24, _HASH, _hash_with_expiry),
    (25, _HASH, _listpack_with_expiry),
)

_VALUES: Final = {number: passing for number, _, passing in _KINDS}
FAMILIES: Final = {number: family for number, family, _ in _KINDS}
"""What a value is to those who use it, by the way in which it is written."""
