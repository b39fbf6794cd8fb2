"""Backups are fresh while the newest manifest is young enough; what cannot be listed is not there."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Final, Protocol

import msgspec
from typing_extensions import override
from yaoki.clock import Clock
from yaoki.config import Target, format_duration
from yaoki.config.findings import Context
from yaoki.config.findings import Finding as Mistake
from yaoki.config.forms import AbsolutePath, PositiveDuration
from yaoki.events.probe import ErrorClass, FailureType

from health_probe.adapters.children import ChildRunner
from health_probe.adapters.files import find_newest
from health_probe.adapters.network import MAX_ANSWER_BYTES, Network
from health_probe.adapters.s3 import S3Place, open_bucket
from health_probe.attempt import Facts, Finding, Phases, ProbeFailedError
from health_probe.kinds import ProbeKind, Surroundings
from health_probe.ports import Check
from health_probe.probes.s3 import S3Access
from health_probe.probes.tls import trusting
from health_probe.targets import Component

_MOST_PAGES: Final = 200
_FUTURE_S: Final = 300.0


class BackupFreshnessTarget(Target, frozen=True, kw_only=True, tag="backup-freshness"):
    """Where backups lie: in a bucket, or in a directory of the prober's own host.

    Attributes:
        max_age: Of the newest manifest; older is a failure, and so are none and a listing that cannot be read.
        store: The bucket.
        prefix: Objects below it are looked at.
        directory: Files below it are looked at.
        suffix: What a manifest's name ends with; it is written last, so what has none is no backup.
    """

    failures = frozenset({FailureType.BACKUP_STALE})

    max_age: PositiveDuration
    store: S3Access | None = None
    prefix: str = ""
    directory: AbsolutePath | None = None
    suffix: Annotated[str, msgspec.Meta(min_length=1)] = "manifest.json"

    @override
    def mistakes(self, path: str, context: Context) -> Iterator[Mistake]:
        """See `Target.mistakes`."""
        if (self.store is None) == (self.directory is None):
            found = "neither store nor directory" if self.store is None else "both store and directory"
            also = (f"{path}.store", f"{path}.directory")
            yield Mistake(path=path, found=found, expected="either store or directory", also=also)


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The newest one found."""

    name: str
    at: datetime


class Shelf(Protocol):
    """Where backups lie."""

    async def newest(self, phases: Phases) -> Manifest | None:
        """The newest manifest; None when there is none.

        Raises:
            ProbeFailedError: It cannot be told, or not completely.
        """
        ...


class BucketShelf:
    """See `Shelf`: manifests in an S3 bucket."""

    def __init__(self, *, network: Network, place: S3Place, prefix: str, suffix: str) -> None:
        self._network = network
        self._place = place
        self._prefix = prefix
        self._suffix = suffix

    async def newest(self, phases: Phases) -> Manifest | None:
        """See `Shelf.newest`."""
        tls = trusting(self._place.ca_file) if self._place.endpoint.startswith("https:") else None
        found: Manifest | None = None
        token: str | None = None
        limit = _MOST_PAGES * MAX_ANSWER_BYTES
        async with open_bucket(self._network, phases, self._place, tls=tls, limit=limit) as bucket:
            for _ in range(_MOST_PAGES):
                page = await bucket.list(phases, self._prefix, token)
                rows = [Manifest(name=one.key, at=one.modified) for one in page.objects if self._is_one(one.key)]
                found = max([*rows, *filter(None, [found])], key=lambda row: row.at, default=None)
                token = page.token
                if token is None:
                    return found
        sentence = f"more than {_MOST_PAGES} pages of objects below {self._prefix!r}: name a narrower prefix"
        raise ProbeFailedError(ErrorClass.CAPACITY, sentence)

    def _is_one(self, key: str) -> bool:
        return key.endswith(self._suffix)


class DirectoryShelf:
    """See `Shelf`: manifests in a directory, from a distance: it may hang."""

    def __init__(self, *, directory: str, suffix: str) -> None:
        self._directory = directory
        self._suffix = suffix
        self._children = ChildRunner()

    async def newest(self, phases: Phases) -> Manifest | None:
        """See `Shelf.newest`."""
        found = await find_newest(self._children, phases, self._directory, self._suffix)
        if found.name is None or found.at is None:
            return None
        return Manifest(name=found.name, at=datetime.fromtimestamp(found.at, UTC))


class BackupFreshnessCheck:
    """See `Check`."""

    def __init__(self, *, shelf: Shelf, max_age_s: float, clock: Clock) -> None:
        self._shelf = shelf
        self._max_age_s = max_age_s
        self._clock = clock

    async def check(self, phases: Phases) -> Finding:
        """See `Check.check`. Facts: newest, age_s."""
        newest = await self._shelf.newest(phases)
        phases.name = "verdict"
        return judge(newest, now=self._clock.now(), max_age_s=self._max_age_s)


def judge(newest: Manifest | None, *, now: datetime, max_age_s: float) -> Finding:
    """Decide what the newest manifest says.

    Raises:
        ProbeFailedError: Class `protocol`: there is none, it is too old, or dated in the future.
    """
    if newest is None:
        raise ProbeFailedError(ErrorClass.PROTOCOL, "there is no backup", {"newest": None})
    age_s = (now - newest.at).total_seconds()
    facts: Facts = {"newest": newest.name[-200:], "age_s": round(age_s, 1)}
    if age_s > max_age_s:
        limit = format_duration(max_age_s)
        sentence = f"the newest backup is {age_s / 3600:.1f} hours old, at most {limit} allowed"
        raise ProbeFailedError(ErrorClass.PROTOCOL, sentence, facts)
    if age_s < -_FUTURE_S:
        # It would count as fresh for as long as the clock that dated it was ahead.
        raise ProbeFailedError(ErrorClass.PROTOCOL, f"the newest backup is dated {-age_s:.0f} s in the future", facts)
    return Finding(facts=facts)


def _build(_name: str, target: BackupFreshnessTarget, surroundings: Surroundings) -> Check:
    shelf: Shelf
    if target.store is not None:
        place = target.store.place()
        shelf = BucketShelf(network=surroundings.network, place=place, prefix=target.prefix, suffix=target.suffix)
    else:
        shelf = DirectoryShelf(directory=target.directory or "", suffix=target.suffix)
    return BackupFreshnessCheck(shelf=shelf, max_age_s=target.max_age, clock=surroundings.clock)


def _failure_type(_target: BackupFreshnessTarget) -> FailureType:
    return FailureType.BACKUP_STALE


KIND = ProbeKind(target=BackupFreshnessTarget, component=Component.SERVICES, build=_build, failure_type=_failure_type)
