"""What to do about a probe that did not find a target well: one sentence for whoever has just set it up. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from yaoki.events.probe import ErrorClass

if TYPE_CHECKING:
    from collections.abc import Mapping

PAGE: Final = "docs/probes.md"

_SHARED_HEADINGS: Final = {"memory": "memory-cpu-disk", "cpu": "memory-cpu-disk", "disk": "memory-cpu-disk"}

_HOST_KINDS: Final = frozenset({"memory", "cpu", "disk", "filesystem", "process", "exec", "backup-freshness"})
"""Kinds that look at something other than an address."""

_BY_CLASS: Final[Mapping[ErrorClass, str]] = {
    ErrorClass.REFUSED: "start it, or correct the address in {place}",
    ErrorClass.TIMEOUT: "look for a firewall or a wrong address; raise {place}.timeout only if it is known to be slow",
    ErrorClass.AUTH: "correct the user and secret in {place}, or grant what {page} names",
    ErrorClass.DNS: "correct the name in {place}, or the resolver of this machine",
    ErrorClass.TLS: "renew the certificate, or trust its authority and name in {place} ({page})",
    ErrorClass.PROTOCOL: "see whether {place} means this server; what it has to answer is in {page}",
    ErrorClass.CAPACITY: "make room, or correct the limit in {place}",
    ErrorClass.LOCAL: "nothing is said about the target: put this machine right, then check again",
}

_OF_HOST: Final[Mapping[ErrorClass, str]] = {
    ErrorClass.REFUSED: "start or create it, or correct what {place} looks for",
    ErrorClass.TIMEOUT: "see what blocks it on this machine; raise {place}.timeout only if it is known to be slow",
    ErrorClass.PROTOCOL: "compare it with what {page} expects",
}


def advice(kind: str, target: str, error_class: ErrorClass | None) -> str:
    """What to do next; empty when there is nothing wrong."""
    if error_class is None:
        return ""
    sentence = _OF_HOST.get(error_class, _BY_CLASS[error_class]) if kind in _HOST_KINDS else _BY_CLASS[error_class]
    return sentence.format(place=f"targets.{target}", page=f"{PAGE}#{_SHARED_HEADINGS.get(kind, kind)}")
