"""Reads Redis's dump format as it passes, to say what is in it.

Each key is counted, and the digests of its database, kind, name and time of expiry are added up, whatever their order.
Values are passed over: their encoding depends on the version and the settings of the server that wrote them, and would
differ after a restore that lost nothing. They are held by the dump's own CRC64, which a server checks when it loads it.

The format: https://github.com/redis/redis/blob/unstable/src/rdb.h and `rdbLoadRio` in rdb.c; versions 6 to 12.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import msgspec

from backup.manifest import Content
from backup.sources.rdb_reader import RdbUnknownError
from backup.sources.rdb_values import FAMILIES, pass_over, pass_over_module

if TYPE_CHECKING:
    from collections.abc import Callable

    from backup.sources.rdb_reader import RdbReader

MAGIC: Final = b"REDIS"
FUNCTIONS: Final = "functions"
_WORD: Final = 1 << 128
_CHECKSUM_BYTES: Final = 8
_FIRST_WITH_CHECKSUM: Final = 5
_KEPT_AUX: Final = frozenset({"redis-ver", "ctime", "repl-id", "repl-offset"})

_SLOT_INFO: Final = 244
_FUNCTION: Final = 245
_MODULE_AUX: Final = 247
_IDLE: Final = 248
_FREQUENCY: Final = 249
_AUX: Final = 250
_RESIZE: Final = 251
_EXPIRY_MS: Final = 252
_EXPIRY_S: Final = 253
_SELECT: Final = 254
_END: Final = 255


class DumpFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a dump says of itself.

    Attributes:
        version: Of the format.
        contents: One for each database that has keys, `db0`, and one for functions.
        notes: Its own remarks, such as `redis-ver` and `ctime`.
    """

    version: int
    contents: tuple[Content, ...]
    notes: dict[str, str] = {}


def facts_of(reader: RdbReader) -> DumpFacts:
    """Read a dump to its end.

    Raises:
        RdbUnknownError: It contains what this build does not know; it may be right all the same.
        RdbBrokenError: It is cut off, or is no dump.
    """
    dump = _Dump(reader)
    while (opcode := reader.byte()) != _END:
        dump.take(opcode)
    if dump.version >= _FIRST_WITH_CHECKSUM:
        reader.skip(_CHECKSUM_BYTES)
    reader.expect_end()
    return dump.facts()


class _Dump:
    """One dump, record by record."""

    def __init__(self, reader: RdbReader) -> None:
        self._reader = reader
        self.version = reader.version(MAGIC)
        self._database = 0
        self._expiry = b""
        self._functions = 0
        self._counts: dict[int, int] = {}
        self._sums: dict[int, int] = {}
        self._notes: dict[str, str] = {}
        self._special: dict[int, Callable[[], None]] = {
            _SLOT_INFO: lambda: self._lengths(3),
            _FUNCTION: self._function,
            _MODULE_AUX: lambda: pass_over_module(reader),
            _IDLE: lambda: self._lengths(1),
            _FREQUENCY: lambda: reader.skip(1),
            _AUX: self._aux,
            _RESIZE: lambda: self._lengths(2),
            _EXPIRY_MS: self._expiry_ms,
            _EXPIRY_S: self._expiry_s,
            _SELECT: self._select,
        }

    def take(self, opcode: int) -> None:
        """One record that begins with `opcode`: a key with its value, or what belongs to the next one."""
        special = self._special.get(opcode)
        if special is not None:
            special()
            return
        if opcode not in FAMILIES:
            raise RdbUnknownError(f"records of type {opcode}")
        key = self._reader.string()
        pass_over(self._reader, opcode)
        about = b"%d\0%s\0%s\0" % (self._database, FAMILIES[opcode], self._expiry)
        digest = int.from_bytes(hashlib.blake2b(about + key, digest_size=16).digest(), "big")
        self._counts[self._database] = self._counts.get(self._database, 0) + 1
        self._sums[self._database] = (self._sums.get(self._database, 0) + digest) % _WORD
        self._expiry = b""

    def facts(self) -> DumpFacts:
        """All that was seen."""
        databases = tuple(
            Content(name=f"db{number}", rows=self._counts[number], fingerprint=f"{self._sums[number]:032x}")
            for number in sorted(self._counts)
        )
        functions = (Content(name=FUNCTIONS, rows=self._functions),) if self._functions else ()
        return DumpFacts(version=self.version, contents=databases + functions, notes=self._notes)

    def _lengths(self, count: int) -> None:
        for _ in range(count):
            self._reader.length()

    def _function(self) -> None:
        self._reader.skip_string()
        self._functions += 1

    def _aux(self) -> None:
        name = self._reader.string().decode("utf-8", "replace")
        if name in _KEPT_AUX:
            self._notes[name] = self._reader.string().decode("utf-8", "replace")
        else:
            self._reader.skip_string()

    def _expiry_ms(self) -> None:
        self._expiry = b"%d" % int.from_bytes(self._reader.read(8), "little")

    def _expiry_s(self) -> None:
        self._expiry = b"%d" % (int.from_bytes(self._reader.read(4), "little") * 1000)

    def _select(self) -> None:
        self._database = self._reader.length()
