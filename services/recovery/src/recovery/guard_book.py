"""What the guards remember, in the KV bucket `runs`, for all instances and across their deaths.

`guard.target.<target>`: its automatic runs and what last helped. `guard.open.<target>.<type>`: a failure that is not
cleared. `guard.flapping.<target>`, `guard.paused[.<target>]`, `guard.brake`: as they say.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

import msgspec
from yaoki.errors import ConflictError
from yaoki.events.probe import FailureDetected  # noqa: TC002 - msgspec reads the annotation at run time
from yaoki.telemetry import get_logger

from recovery.guards import HOUR, Brake, Paused, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from yaoki.events.probe import FailureType
    from yaoki.messaging.ports import KeyValue

_TARGET, _OPEN, _FLAPPING = "guard.target.", "guard.open.", "guard.flapping."
_PAUSED, _BRAKE = "guard.paused", "guard.brake"
_ATTEMPTS = 20
PEOPLE = "people"
"""In `OpenFailure.told`: a person knows of the failure, because one was called or has taken it over."""
_KEPT = timedelta(hours=2)
_UNREADABLE = Paused(by="somebody whose record cannot be read", since=datetime.fromtimestamp(0, UTC))
_log = get_logger(__name__)

S = TypeVar("S", bound=msgspec.Struct)


class Helped(msgspec.Struct, frozen=True, kw_only=True):
    """The branch of a run that a fresh probe verified, and when."""

    run_id: str
    branch: str
    at: datetime


class TargetBook(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of one target.

    Attributes:
        runs: When its automatic runs began, by run; those of the last two hours.
        helped: By failure type.
    """

    runs: dict[str, datetime] = {}
    helped: dict[str, Helped] = {}


class OpenFailure(msgspec.Struct, frozen=True, kw_only=True):
    """A failure that was taken up and is not cleared.

    Attributes:
        told: Guards about which people were told, each once, and `PEOPLE`.
    """

    failure: FailureDetected
    sequence: int
    since: datetime
    told: tuple[str, ...] = ()


class GuardBook:
    """Reads and writes it; everything may be repeated and be done by several instances at once."""

    def __init__(self, bucket: KeyValue) -> None:
        self._bucket = bucket

    async def target(self, target: str) -> TargetBook:
        """What is remembered of a target."""
        return await self._read(_TARGET + target, TargetBook) or TargetBook()

    async def began(self, target: str, run_id: str, at: datetime) -> None:
        """An automatic run begins; noted before it does, so that no crash lets one more through."""

        def add(book: TargetBook) -> TargetBook:
            kept = {name: began for name, began in book.runs.items() if at - began < max(HOUR, _KEPT)}
            return msgspec.structs.replace(book, runs={run_id: at, **kept})

        await self._change(_TARGET + target, TargetBook, add)

    async def helped(self, target: str, failure_type: FailureType, helped: Helped) -> None:
        """A run has ended with a verified branch."""

        def add(book: TargetBook) -> TargetBook:
            known = book.helped.get(failure_type.value)
            if known is not None and known.run_id == helped.run_id:
                return book
            return msgspec.structs.replace(book, helped={**book.helped, failure_type.value: helped})

        await self._change(_TARGET + target, TargetBook, add)

    async def open(self, failure: OpenFailure) -> OpenFailure:
        """Note an open failure unless it is noted; as it stands."""
        key = _open_key(failure.failure)
        known = await self._read(key, OpenFailure)
        if known is not None and known.failure.incident_id == failure.failure.incident_id:
            return known
        await self._bucket.put(key, msgspec.json.encode(failure))
        return failure

    async def tell(self, failure: OpenFailure, what: str) -> None:
        """People were told; not again."""
        key = _open_key(failure.failure)
        known = await self._read(key, OpenFailure)
        if known is not None and what not in known.told:
            await self._bucket.put(key, msgspec.json.encode(msgspec.structs.replace(known, told=(*known.told, what))))

    async def close(self, target: str, failure_type: FailureType, sequence: int) -> None:
        """Every failure of this type that was detected before this place in the stream is over."""
        key = f"{_OPEN}{target}.{failure_type.value}"
        known = await self._read(key, OpenFailure)
        if known is not None and known.sequence < sequence:
            await self._bucket.delete(key)

    async def open_failures(self) -> list[OpenFailure]:
        """All of them."""
        entries = await self._bucket.entries(_OPEN)
        found = (_decoded(entry.key, entry.value, OpenFailure) for entry in entries)
        return [one for one in found if one is not None]

    async def set_flapping(self, target: str, *, flapping: bool) -> None:
        """As the probes say."""
        if flapping:
            await self._bucket.put(_FLAPPING + target, b"true")
        else:
            await self._bucket.delete(_FLAPPING + target)

    async def pause(self, target: str, pause: Paused) -> None:
        """For one target, or for all when it is empty."""
        await self._bucket.put(_paused_key(target), msgspec.json.encode(pause))

    async def resume(self, target: str) -> bool:
        """Whether there was a pause."""
        there = await self._bucket.get(_paused_key(target)) is not None
        await self._bucket.delete(_paused_key(target))
        return there

    async def set_brake(self, brake: Brake) -> None:
        """As it stands now."""
        await self._bucket.put(_BRAKE, msgspec.json.encode(brake))

    async def snapshot(self, targets: int, opened: Sequence[OpenFailure]) -> Snapshot:
        """Everything that concerns all targets.

        Args:
            targets: How many there are.
            opened: As just read.
        """
        paused = {
            entry.key.removeprefix(_PAUSED).removeprefix("."): _decoded(entry.key, entry.value, Paused) or _UNREADABLE
            for entry in await self._bucket.entries(_PAUSED)
        }
        flapping = {key.removeprefix(_FLAPPING) for key in await self._bucket.keys(_FLAPPING)}
        return Snapshot(
            failed=frozenset(one.failure.target for one in opened),
            targets=targets,
            brake=await self._read(_BRAKE, Brake),
            flapping=frozenset(flapping),
            paused=paused,
        )

    async def _read(self, key: str, kind: type[S]) -> S | None:
        entry = await self._bucket.get(key)
        return _decoded(key, entry.value, kind) if entry else None

    async def _change(self, key: str, kind: type[S], change: Callable[[S], S]) -> None:
        for _ in range(_ATTEMPTS):
            entry = await self._bucket.get(key)
            known = (_decoded(key, entry.value, kind) if entry else None) or kind()
            changed = change(known)
            if changed == known and entry is not None:
                return
            try:
                if entry is None:
                    await self._bucket.create(key, msgspec.json.encode(changed))
                else:
                    await self._bucket.update(key, msgspec.json.encode(changed), revision=entry.revision)
            except ConflictError:
                continue
            return
        raise ConflictError(f"{key!r} was changed by others {_ATTEMPTS} times in a row")


def _open_key(failure: FailureDetected) -> str:
    return f"{_OPEN}{failure.target}.{failure.failure_type.value}"


def _paused_key(target: str) -> str:
    return f"{_PAUSED}.{target}" if target else _PAUSED


def _decoded(key: str, value: bytes | None, kind: type[S]) -> S | None:
    """None for what cannot be read; said in the log."""
    try:
        return msgspec.json.decode(value or b"", type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        _log.error("guard record is unreadable, passed over", key=key, error=type(error).__name__)
        return None
