"""Values that people write as text: durations, sizes, addresses, URLs, names.

Each form is an annotation for the model (`Duration`, `Port`, ...) whose metadata names its parser in `FORMS`.
"""

from __future__ import annotations

import math
import re
import zoneinfo
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import msgspec
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d)")
_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB)")
_SIZE_UNITS = {
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_ADDRESS = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[^:\[\]/@]+)):(?P<port>[0-9]{1,5})")
_LONGEST_NAME = 100
_HIGHEST_PORT = 65535


class Form(msgspec.Struct, frozen=True):
    """How one kind of text is read.

    Attributes:
        expected: Completes the sentence "expected ...".
        parse: Returns the value; raises ValueError, whose text, if any, replaces `expected`.
    """

    expected: str
    parse: Callable[[object], object]


class Address(msgspec.Struct, frozen=True, order=True):
    """Where a server listens, written `host:port` (IPv6: `[::1]:8080`)."""

    host: str
    port: int

    @override
    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_duration(value: object) -> float:
    """Seconds of `"250ms"`, `"30s"`, `"5m"`, `"1h"`, `"7d"`, or of a number of seconds."""
    if isinstance(value, bool):
        raise ValueError  # noqa: TRY004 - one exception for "not of this form", whatever the type
    if isinstance(value, int | float) and math.isfinite(value) and value >= 0:
        return float(value)
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError
    return float(match[1]) * _DURATION_UNITS[match[2]]


def format_duration(seconds: float) -> str:
    """The shortest text that `parse_duration` reads as the same number of seconds."""
    for unit in ("d", "h", "m", "s", "ms"):
        amount = seconds / _DURATION_UNITS[unit]
        if amount >= 1 and amount == int(amount) and int(amount) * _DURATION_UNITS[unit] == seconds:
            return f"{int(amount)}{unit}"
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"


def parse_size(value: object) -> int:
    """Bytes of `"512KiB"`, `"1MiB"`, `"2GB"`, or of a whole number of bytes."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError
    return int(float(match[1]) * _SIZE_UNITS[match[2]])


def parse_address(value: object) -> Address:
    """`host:port` as an `Address`."""
    match = _ADDRESS.fullmatch(value) if isinstance(value, str) else None
    if match is None or not 1 <= int(match["port"]) <= _HIGHEST_PORT:
        raise ValueError
    return Address(match["v6"] or match["host"], int(match["port"]))


def _parse_name(value: object) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST_NAME or not _NAME.fullmatch(value):
        raise ValueError
    return value


def _parse_host(value: object) -> str:
    if not isinstance(value, str) or not (_HOST.fullmatch(value) or ":" in value.strip("[]")):
        raise ValueError
    if "/" in value or "@" in value or re.fullmatch(r"[^:]+:\d+", value):
        raise ValueError
    return value.strip("[]")


def _parse_path(value: object) -> str:
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise ValueError
    return value


def _parse_zone(value: object) -> str:
    try:
        return zoneinfo.ZoneInfo(value).key if isinstance(value, str) and value else _fail()
    except (zoneinfo.ZoneInfoNotFoundError, OSError):
        raise ValueError from None


def _fail() -> str:
    raise ValueError


def _url_parser(*schemes: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        parts = urlsplit(value) if isinstance(value, str) else None
        if parts is None or parts.scheme not in schemes or not parts.hostname:
            raise ValueError
        _ = parts.port  # raises ValueError outside 0-65535
        if "@" in parts.netloc:
            raise ValueError("a URL without user and password; they are secrets and have fields of their own")
        return str(value)

    return parse


FORMS: dict[str, Form] = {
    "duration": Form("a duration such as 250ms, 30s, 5m or 1h, or a number of seconds", parse_duration),
    "size": Form("a size such as 512KiB, 1MiB or 2GiB, or a whole number of bytes", parse_size),
    "address": Form("an address host:port with a port from 1 to 65535", parse_address),
    "name": Form(
        f"a name of 1 to {_LONGEST_NAME} of a-z, 0-9, '-' and '_', starting with a letter or digit",
        _parse_name,
    ),
    "host": Form("a host name or IP address, without port or scheme", _parse_host),
    "path": Form("an absolute path", _parse_path),
    "zone": Form("a time zone of the IANA database such as Asia/Tokyo or UTC", _parse_zone),
    "http-url": Form("a URL http://host[:port]/path or https://...", _url_parser("http", "https")),
    "nats-url": Form(
        "a URL nats://host:port, tls://host:port or ws(s)://host:port",
        _url_parser("nats", "tls", "ws", "wss"),
    ),
    "postgres-url": Form("a URL postgresql://host:port/database", _url_parser("postgresql", "postgres")),
}


def _meta(form: str, **schema: Any) -> msgspec.Meta:
    return msgspec.Meta(extra={"form": form}, extra_json_schema=schema or None)


_DURATION_SCHEMA: dict[str, Any] = {"pattern": r"^[0-9]+(\.[0-9]+)?\s*(ms|s|m|h|d)$"}

Duration = Annotated[float, _meta("duration", minimum=0, **_DURATION_SCHEMA)]
"""Seconds, not negative."""

PositiveDuration = Annotated[float, msgspec.Meta(gt=0), _meta("duration", **_DURATION_SCHEMA)]
"""Seconds, more than none."""

Size = Annotated[
    int,
    _meta("size", minimum=0, pattern=r"^[0-9]+(\.[0-9]+)?\s*(B|[kKMGT]B|[KMGT]iB)$"),
]
"""Bytes."""

Name = Annotated[str, _meta("name", pattern=r"^[a-z0-9][a-z0-9_-]*$", maxLength=_LONGEST_NAME)]
"""Can stand as one token of a NATS subject."""


def _naming(mapping: str) -> msgspec.Meta:
    return msgspec.Meta(extra={"names": mapping})


TargetName = Annotated[Name, _naming("targets")]
"""A key of `targets`; whether there is one is checked whatever else is wrong around it. So with the next three."""

ClusterName = Annotated[Name, _naming("postgres_clusters")]
RepositoryName = Annotated[Name, _naming("backup.repositories")]
BackupTargetName = Annotated[Name, _naming("backup.targets")]
GroupName = Annotated[Name, _naming("redis_groups")]
AgentName = Annotated[Name, _naming("agents")]

Host = Annotated[str, _meta("host")]
Port = Annotated[int, msgspec.Meta(ge=1, le=_HIGHEST_PORT)]
AbsolutePath = Annotated[str, _meta("path", pattern="^/")]
TimeZone = Annotated[str, _meta("zone")]
HttpUrl = Annotated[str, _meta("http-url", format="uri", pattern="^https?://")]
NatsUrl = Annotated[str, _meta("nats-url", format="uri", pattern="^(nats|tls|wss?)://")]
PostgresUrl = Annotated[str, _meta("postgres-url", format="uri", pattern="^postgres(ql)?://")]
