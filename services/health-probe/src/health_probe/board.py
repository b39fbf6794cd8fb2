"""Everything that stands in KV `health` as this prober knows it, and what it has seen itself and not stored yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec
import structlog

from health_probe.quorum import Sighting
from health_probe.records import HealthRecord, VerdictRecord, names_in
from health_probe.verdicts import event_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from yaoki.clock import Clock
    from yaoki.messaging.ports import Entry

_log = structlog.get_logger(__name__)
_view = msgspec.json.Decoder(HealthRecord)
_verdict = msgspec.json.Decoder(VerdictRecord)


class Reader(Protocol):
    """Is told what others write. Synchronous."""

    def on_view(self, target: str, vantage: str, *, by: str) -> None:
        """The board shows a newer view, written by `by`."""
        ...

    def on_verdict(self, target: str) -> None:
        """The board shows a verdict of somebody else."""
        ...


class KnownView(msgspec.Struct, kw_only=True):
    """A view, its revision in KV (0: not stored), and its age when it came, on the monotonic clock."""

    record: HealthRecord
    revision: int = 0
    came_at: float = 0.0
    age_s: float = 0.0


class KnownVerdict(msgspec.Struct, kw_only=True):
    """A verdict, its revision in KV (0: not stored), and whether it says more than what is stored."""

    record: VerdictRecord
    revision: int = 0
    unsaved: bool = False


class Board:
    """See the module.

    Freshness: a view that comes while nothing is missed has its age measured from when it came, so that the clocks of
    probers need not agree. After a start or a reconnect it may have come late, so its own time is believed as well.

    Args:
        me: This process, as it stands in what it writes.
        vantages: Of each target that is configured; what else stands in the bucket is passed over.
    """

    def __init__(self, *, me: str, vantages: Mapping[str, tuple[str, ...]], clock: Clock) -> None:
        self.me = me
        self._vantages = vantages
        self._clock = clock
        self._views: dict[tuple[str, str], KnownView] = {}
        self._verdicts: dict[str, KnownVerdict] = {}
        self._caught_up: set[str] = set()
        self._readers: list[Reader] = []

    def attach(self, reader: Reader) -> None:
        """Tell `reader` from now on."""
        self._readers.append(reader)

    def interrupted(self) -> None:
        """Something may have been missed; the next version of each key may be old."""
        self._caught_up.clear()

    def take(self, entry: Entry) -> None:
        """Take in a version of a key, in any order and as often as it comes; unreadable ones are passed over."""
        target, vantage = names_in(entry.key)
        if target not in self._vantages or entry.value is None:
            return
        try:
            if vantage is None:
                self._take_verdict(target, entry.revision, entry.value)
            elif vantage in self._vantages[target]:
                self._take_view((target, vantage), entry.revision, entry.value)
        except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
            _log.error("stored health is unreadable, passed over", key=entry.key, error=str(exc))
        self._caught_up.add(entry.key)

    def note(self, record: HealthRecord) -> None:
        """Take in a view of our own that is not stored yet."""
        self._keep(record, 0, 0.0)

    def vantages(self, target: str) -> tuple[str, ...]:
        """From where a target is watched; empty for one that is not configured."""
        return self._vantages.get(target, ())

    def view(self, target: str, vantage: str) -> KnownView | None:
        """The newest view of a vantage."""
        return self._views.get((target, vantage))

    def verdict(self, target: str) -> KnownVerdict | None:
        """The newest verdict about a target."""
        return self._verdicts.get(target)

    def views(self, target: str) -> list[HealthRecord]:
        """The newest views of a target, in the order of its vantages."""
        known = [self._views.get((target, vantage)) for vantage in self._vantages.get(target, ())]
        return [one.record for one in known if one is not None]

    def sightings(self, target: str) -> list[Sighting]:
        """One for each vantage of a target."""
        now = self._clock.monotonic()
        return [self._sighting(self._views.get((target, vantage)), vantage, now) for vantage in self._vantages[target]]

    def judged(self, record: VerdictRecord) -> None:
        """Keep a verdict of our own that is not stored yet."""
        known = self._verdicts.get(record.target)
        revision = known.revision if known else 0
        record = msgspec.structs.replace(record, judge=self.me)
        self._verdicts[record.target] = KnownVerdict(record=record, revision=revision, unsaved=True)

    def view_stored(self, target: str, vantage: str, revision: int) -> None:
        """Our view stands in KV under `revision`."""
        known = self._views.get((target, vantage))
        if known is not None:
            known.revision = max(known.revision, revision)

    def verdict_stored(self, record: VerdictRecord, revision: int) -> None:
        """Our verdict stands in KV under `revision`; it may have changed here meanwhile."""
        known = self._verdicts[record.target]
        known.revision = max(known.revision, revision)
        if known.record is record:
            known.unsaved = False

    def told(self, target: str, identity: str) -> None:
        """An event of our verdict is stored in the stream, or never will be."""
        record = self._verdicts[target].record
        untold = tuple(event for event in record.untold if event_id(event) != identity)
        self.judged(msgspec.structs.replace(record, untold=untold))

    def untold(self) -> int:
        """How many events wait in all verdicts of our own."""
        return sum(len(known.record.untold) for known in self._verdicts.values() if known.record.judge == self.me)

    def erased(self, key: str) -> None:
        """The key does not exist any more: the next write creates it."""
        target, vantage = names_in(key)
        known = self._verdicts.get(target) if vantage is None else self._views.get((target, vantage))
        if known is not None:
            known.revision = 0

    def forget(self, target: str, vantage: str) -> None:
        """Forget what we made of a target and have not stored; what is stored has to be taken in again."""
        self._views.pop((target, vantage), None)
        self._verdicts.pop(target, None)
        self._caught_up.difference_update((f"{target}.{vantage}", target))

    def _keep(self, record: HealthRecord, revision: int, age_s: float) -> None:
        """Keep a view; one that only changes hands is not newer for that."""
        key = (record.target, record.vantage)
        known, came_at = self._views.get(key), self._clock.monotonic()
        if known is not None:
            revision = max(revision, known.revision)
            if record.checked_at <= known.record.checked_at:
                came_at, age_s = known.came_at, known.age_s
        self._views[key] = KnownView(record=record, revision=revision, came_at=came_at, age_s=age_s)

    @staticmethod
    def _sighting(known: KnownView | None, vantage: str, now: float) -> Sighting:
        if known is None:
            return Sighting(vantage=vantage)
        return Sighting(vantage=vantage, view=known.record, age_s=known.age_s + now - known.came_at)

    def _take_view(self, key: tuple[str, str], revision: int, value: bytes) -> None:
        known = self._views.get(key)
        if known is not None and revision <= known.revision:
            return
        record = _view.decode(value)
        if known is not None and record.prober == self.me:
            known.revision = revision  # an echo: what we have is as new
            return
        age_s = 0.0
        if ".".join(key) not in self._caught_up:
            age_s = max(0.0, (self._clock.now() - record.checked_at).total_seconds())
        self._keep(record, revision, age_s)
        for reader in self._readers:
            reader.on_view(*key, by=record.prober)

    def _take_verdict(self, target: str, revision: int, value: bytes) -> None:
        known = self._verdicts.get(target)
        if known is not None and revision <= known.revision:
            return
        record = _verdict.decode(value)
        if known is not None and record.judge == self.me:
            known.revision = revision
            return
        self._verdicts[target] = KnownVerdict(record=record, revision=revision)
        for reader in self._readers:
            reader.on_verdict(target)
