"""One attempt at a target: its deadline, its named phases, and what can come of it."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import msgspec
from yaoki.events.probe import ErrorClass, ProbeStatus

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

Facts = dict[str, str | int | float | bool | None]

PHASE_SHARES: Final[Mapping[str, float]] = MappingProxyType({"dns": 0.5, "connect": 0.7, "tls": 0.8, "login": 0.9})
"""Share of the whole timeout that one phase may take; a phase not named here may take all that is left.

Early phases get less than the whole, so that the result says "connect" and not merely "too slow".
"""

_LOCAL_ERRNOS: Final = frozenset(
    {
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.ENOBUFS,
        errno.EADDRNOTAVAIL,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.EPERM,
    }
)
"""Errors that this machine raises before a packet has left it; they say nothing about the target."""

# Looked at before the numbers: SSLError and gaierror number their errors in ways of their own.
_OS_ERRORS: Final[tuple[tuple[type[OSError], ErrorClass, str], ...]] = (
    (TimeoutError, ErrorClass.TIMEOUT, "the operating system gave up waiting for the target"),
    (socket.gaierror, ErrorClass.DNS, "the name does not resolve: {reason}"),
    (ssl.SSLError, ErrorClass.TLS, "TLS failed: {reason}"),
    (ConnectionRefusedError, ErrorClass.REFUSED, "connection refused: nobody listens there"),
)

_DETAIL_LIMIT: Final = 240


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What a check found when the target answered as it should, fully or with reservations.

    Attributes:
        status: HEALTHY, or DEGRADED with a sentence in `detail`.
        facts: What was measured beside the verdict.
    """

    status: ProbeStatus = ProbeStatus.HEALTHY
    detail: str = ""
    error_class: ErrorClass | None = None
    facts: Facts = {}


class ProbeFailedError(Exception):
    """The target is not well, and this is why.

    Args:
        error_class: Why.
        detail: One sentence for people; never a credential, never a whole answer of the target.
        facts: What had been measured by then.
    """

    def __init__(self, error_class: ErrorClass, detail: str, facts: Facts | None = None) -> None:
        super().__init__(detail)
        self.error_class = error_class
        self.detail = detail
        self.facts = facts or {}


class Deadline:
    """The latest moment by which an attempt must be over, on the event loop's clock."""

    def __init__(self, *, total_s: float, at: float) -> None:
        self.total_s = total_s
        self.at = at

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """`seconds` from now."""
        return cls(total_s=seconds, at=asyncio.get_running_loop().time() + seconds)


class Phases:
    """Runs the phases of one attempt, each with its own limit inside the deadline.

    `name` is the phase that was entered last, so that whoever catches an error knows where it stopped.
    """

    def __init__(self, deadline: Deadline) -> None:
        self.deadline = deadline
        self.name = "start"

    def fork(self) -> Phases:
        """The same deadline for an attempt that runs beside this one."""
        return Phases(self.deadline)

    def phase(self, name: str) -> Phase:
        """A context that runs its body as phase `name`.

        Raises:
            ProbeFailedError: On leaving, class `timeout`, when the phase's limit or the deadline passes first.
        """
        self.name = name
        return Phase(name, self.deadline)


class Phase:
    """See `Phases.phase`. A class and no generator, because a prober enters thousands of phases a second."""

    __slots__ = ("_limit", "_name", "_timeout")

    def __init__(self, name: str, deadline: Deadline) -> None:
        self._name = name
        self._limit = deadline.total_s * PHASE_SHARES.get(name, 1.0)
        self._timeout = asyncio.timeout_at(min(deadline.at, asyncio.get_running_loop().time() + self._limit))

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError as exc:
            sentence = f"no answer in phase {self._name} within {self._limit:g} s"
            raise ProbeFailedError(ErrorClass.TIMEOUT, sentence) from exc


def failure_of(exc: Exception) -> ProbeFailedError:
    """Translate what an operating system, resolver or TLS library raised into a typed failure.

    What is not recognised is class `local`: a defect of the prober must never count against a target.
    """
    if isinstance(exc, ProbeFailedError):
        return exc
    error_class, sentence = _interpret(exc)
    return ProbeFailedError(error_class, sentence)


def _interpret(exc: Exception) -> tuple[ErrorClass, str]:
    if isinstance(exc, EOFError | ConnectionError) and not isinstance(exc, ConnectionRefusedError):
        return ErrorClass.REFUSED, "the target closed the connection before it had answered"
    if not isinstance(exc, OSError):
        return ErrorClass.LOCAL, f"the probe itself failed with {type(exc).__name__}"
    reason = exc.strerror or type(exc).__name__
    for kind, error_class, sentence in _OS_ERRORS:
        if isinstance(exc, kind):
            return error_class, sentence.format(reason=reason)
    if exc.errno in _LOCAL_ERRNOS:
        return ErrorClass.LOCAL, f"this prober cannot reach out: {reason}"
    return ErrorClass.TIMEOUT, f"the target cannot be reached: {reason}"


def presentable(text: str, *secrets: str) -> str:
    """A target's own words, made safe to show: one printable line, cut, with every secret blotted out."""
    for secret in filter(None, secrets):
        text = text.replace(secret, "***")
    line = "".join(character if character.isprintable() else " " for character in text)
    return line[:_DETAIL_LIMIT]
