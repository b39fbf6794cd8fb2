"""How much data was lost, or would have been, by the events that measure it: pure.

An event type that measures it is one function and one line in `READERS`. Nothing is guessed: a failover whose loss
nobody can give in seconds is a recovery point without seconds, and then nothing says that the objective was kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from yaoki.events.backup import BackupCompleted, RpoBreached, WalArchiveLagging
from yaoki.events.recovery import DurabilityDegraded, DurabilityRestored, PrimaryPromoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from yaoki.config import Config
    from yaoki.events import Event


class RecoveryPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement; the record `points.<yyyymm>.<subject>` in KV `slo` holds those of a month by event id.

    Attributes:
        event_id: Of the event that says so.
        subject: Target, cluster or group that it is about.
        at: When it was said, seconds since 1970.
        source: `failover`, `backup`, `archive`.
        seconds: Of data; None when nobody measured it in seconds.
        lost_bytes: Of the log that the new primary is known to lack; a lower bound.
    """

    event_id: str
    subject: str
    at: float
    source: str
    seconds: float | None = None
    lost_bytes: int = 0


class RecoveryPoints:
    """Listens to every event that measures, in the order of the stream.

    Args:
        synchronous: Clusters whose commits wait for a standby.
        degraded: By cluster its members whose commits did not wait for one, as the last writer knew.

    Attributes:
        changed: Points that are not written down yet, by event id.
    """

    def __init__(self, synchronous: Iterable[str], degraded: Mapping[str, Iterable[str]] | None = None) -> None:
        self._synchronous = frozenset(synchronous)
        self._degraded = {cluster: set(members) for cluster, members in (degraded or {}).items()}
        self.changed: dict[str, RecoveryPoint] = {}

    @property
    def degraded(self) -> dict[str, tuple[str, ...]]:
        """Members whose commits do not wait for a standby although they should, by cluster."""
        return {cluster: tuple(sorted(members)) for cluster, members in sorted(self._degraded.items()) if members}

    def hear(self, event: Event, event_id: str, at: float) -> None:
        """Take an event in; one that measures nothing is passed over."""
        if isinstance(event, DurabilityDegraded):
            self._degraded.setdefault(event.cluster, set()).add(event.member)
        elif isinstance(event, DurabilityRestored):
            self._degraded.get(event.cluster, set()).discard(event.member)
        elif (read := READERS.get(type(event))) is not None:
            point = read(self, event, event_id, at)
            if point is not None:
                self.changed[event_id] = point

    def failover(self, event: PrimaryPromoted, event_id: str, at: float) -> RecoveryPoint | None:
        """Nothing is lost where the old primary's commits waited for a standby; else some bytes are, as far as known.

        The new primary is alone at first: that it is degraded before this is said has nothing to do with the loss.
        """
        alone = self._degraded.get(event.cluster, set())
        waited = bool(event.previous) and event.previous not in alone and event.cluster in self._synchronous
        alone.discard(event.previous)
        return RecoveryPoint(
            event_id=event_id,
            subject=event.cluster,
            at=at,
            source="failover",
            seconds=0.0 if waited and event.lag_bytes == 0 else None,
            lost_bytes=event.lag_bytes,
        )

    def backup(self, event: BackupCompleted, event_id: str, at: float) -> RecoveryPoint | None:
        """What a loss just before this backup would have cost; the first one has nothing before it to measure from."""
        if event.rpo_achieved_s is None:
            return None
        return RecoveryPoint(
            event_id=event_id, subject=event.target, at=at, source="backup", seconds=event.rpo_achieved_s
        )

    def breach(self, event: RpoBreached, event_id: str, at: float) -> RecoveryPoint | None:
        """Age of the newest backup; without any backup nobody can say how much would be lost."""
        return RecoveryPoint(event_id=event_id, subject=event.target, at=at, source="backup", seconds=event.age_s)

    def archive(self, event: WalArchiveLagging, event_id: str, at: float) -> RecoveryPoint | None:
        """Age of the oldest transaction that is not archived."""
        return RecoveryPoint(event_id=event_id, subject=event.target, at=at, source="archive", seconds=event.lag_s)


READERS: Final[Mapping[type[Event], Callable[[RecoveryPoints, Any, str, float], RecoveryPoint | None]]] = {
    PrimaryPromoted: RecoveryPoints.failover,
    BackupCompleted: RecoveryPoints.backup,
    RpoBreached: RecoveryPoints.breach,
    WalArchiveLagging: RecoveryPoints.archive,
}
MEASURING: Final[tuple[type[Event], ...]] = (*READERS, DurabilityDegraded, DurabilityRestored)


def synchronous_clusters(config: Config) -> list[str]:
    """Clusters whose commits wait for a standby."""
    return [name for name, cluster in config.postgres_clusters.items() if cluster.synchronous]


def subjects_of(config: Config, targets: Iterable[str]) -> tuple[str, ...]:
    """Under which names events speak of these targets: their own, and those of their clusters and groups."""
    names = set(targets)
    for target in map(config.targets.get, tuple(names)):
        names.update(filter(None, (getattr(target, "cluster", None), getattr(target, "group", None))))
    return tuple(sorted(names))


def worst(points: Iterable[RecoveryPoint]) -> float | None:
    """The largest that was measured in seconds; None when none was."""
    return max((point.seconds for point in points if point.seconds is not None), default=None)


def kept(points: Iterable[RecoveryPoint], objective_s: float) -> bool | None:
    """Whether every point is below the objective; None when there is none, or one that nobody measured in seconds."""
    found = list(points)
    if any(point.seconds is not None and point.seconds >= objective_s for point in found):
        return False
    return True if found and all(point.seconds is not None for point in found) else None
