"""What kind of disaster a window of events shows, with evidence and confidence. Pure and replayable.

The same window gives the same answer, at any time and anywhere; nothing but the window and the list of components is
looked at. Every finding names the events that speak for it. Confidence is the chance that at least one of the kinds of
evidence is right, each taken for itself: two signs of different kinds say more than ten of one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from yaoki.disasters import DisasterClass, Severity
from yaoki.dr.evidence import Component, Observed, Signs, read_signs
from yaoki.events.backup import BackupFailed, BackupFailureClass, BackupVerificationFailed, VerificationStage
from yaoki.events.probe import ErrorClass, FailureDetected, FailureType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_MANY = 2
"""So many at once are no coincidence."""
_WHOLE = 3
"""Less than so many components are no system of which one can say that all of it is gone."""
_HALF = 0.5


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """Why a finding is believed.

    Attributes:
        says: One sentence.
        weight: How sure it makes by itself, 0 to 1.
        events: Sequences in the stream of the events that say so.
    """

    says: str
    weight: float
    events: tuple[int, ...]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A disaster that the window shows.

    Attributes:
        severity: Decides the objectives.
        confidence: 0 to 1.
        affected: Names of components or backup targets, sorted.
        evidence: At least one.
    """

    disaster: DisasterClass
    severity: Severity
    confidence: float
    affected: tuple[str, ...]
    evidence: tuple[Evidence, ...]


def classify(window: Iterable[Observed], components: Iterable[Component]) -> tuple[Finding, ...]:
    """Every disaster that the window shows, the one that explains most first; empty when nothing is open.

    Args:
        window: Events of the probes, of recovery and of the backup service; others do not matter.
        components: All that is watched, so that a share of it can be told.
    """
    signs = read_signs(window)
    known = {one.name: one for one in components}
    found = [finding for rule in _RULES if (finding := rule(signs, known)) is not None]
    extents = [finding for finding in found if finding.disaster in _EXTENTS]
    # Of how much is gone only the widest is said; which single thing is broken stays beside it.
    widest = extents[:1]
    findings = widest + [finding for finding in found if finding.disaster not in _EXTENTS]
    return tuple(findings) or _unknown(signs)


def _complete(signs: Signs, known: Mapping[str, Component]) -> Finding | None:
    failed = _failed(signs, known)
    if len(known) < _WHOLE or set(failed) != set(known):
        return None
    says = f"all {len(known)} components have failed"
    return _found(DisasterClass.COMPLETE_SYSTEM_FAILURE, Severity.CRITICAL, failed, [_mass(says, 0.9, failed)])


def _data_center(signs: Signs, known: Mapping[str, Component]) -> Finding | None:
    """Every component of one region has failed, and another region has some that have not."""
    failed = _failed(signs, known)
    for region in sorted({known[name].region for name in failed}):
        there = {name for name, one in known.items() if one.region == region}
        if len(there) >= _MANY and there <= set(failed) and set(known) - there - set(failed):
            gone = {name: failed[name] for name in there}
            says = f"all {len(there)} components of region {region} have failed, and others have not"
            return _found(DisasterClass.DATA_CENTER_FAILURE, Severity.CRITICAL, gone, [_mass(says, 0.85, gone)])
    return None


def _massive(signs: Signs, known: Mapping[str, Component]) -> Finding | None:
    failed = _failed(signs, known)
    if len(failed) < _MANY or len(failed) <= len(known) * _HALF:
        return None
    says = f"{len(failed)} of {len(known)} components have failed"
    return _found(DisasterClass.MASSIVE_CLUSTER_FAILURE, Severity.CRITICAL, failed, [_mass(says, 0.8, failed)])


def _partial(signs: Signs, known: Mapping[str, Component]) -> Finding | None:
    failed = _failed(signs, known)
    if len(failed) < _MANY:
        return None
    says = f"{len(failed)} of {len(known)} components have failed"
    return _found(DisasterClass.PARTIAL_CLUSTER_FAILURE, Severity.MEDIUM, failed, [_mass(says, 0.6, failed)])


def _partition(signs: Signs, known: Mapping[str, Component]) -> Finding | None:
    differing = _by_target(signs.disagreements, known)
    differing = differing if len(differing) >= _MANY else {}
    named = _by_target((one for one in signs.failures if _type(one) is FailureType.NETWORK_PARTITION), known)
    evidence = []
    if differing:
        says = f"vantages differ about {len(differing)} components"
        evidence.append(_mass(says, 0.7, differing))
    if named:
        evidence.append(_mass("a probe has found the network split", 0.8, named))
    return _found(DisasterClass.NETWORK_PARTITION, Severity.CRITICAL, differing | named, evidence)


def _attack(signs: Signs, known: Mapping[str, Component]) -> Finding | None:
    """Logins that worked are refused in several places, or backups can no longer be opened."""
    refused = _by_target((one for one in signs.failures if _error(one) is ErrorClass.AUTH), known)
    sealed = _backups(
        one
        for one in signs.broken_backups
        if _stage(one) in (VerificationStage.ENCRYPTION, VerificationStage.STRUCTURE)
    )
    evidence = []
    if len(refused) >= _MANY:
        says = f"{len(refused)} components refuse logins that worked before"
        evidence.append(_mass(says, 0.6, refused))
    if sealed and refused:
        evidence.append(_mass("backups that were sound cannot be opened", 0.6, sealed))
    return _found(DisasterClass.CYBER_ATTACK, Severity.HIGH, refused | sealed, evidence)


def _corruption(signs: Signs, known: Mapping[str, Component]) -> Finding | None:
    """The database answers, and what it answers is wrong."""
    garbled = _by_target((one for one in _database_failures(signs, known) if _error(one) is ErrorClass.PROTOCOL), known)
    unreadable = _backups(
        one
        for one in signs.lost_backups
        if isinstance(one.event, BackupFailed)
        and one.event.failure is BackupFailureClass.SOURCE
        and one.event.kind.startswith("postgres")
    )
    wrong = _backups(
        one for one in signs.broken_backups if _stage(one) in (VerificationStage.CONTENT, VerificationStage.ASSERTIONS)
    )
    evidence = [
        _mass(says, weight, events)
        for says, weight, events in (
            ("a database answers what no database should", 0.5, garbled),
            ("a database cannot be read from end to end", 0.6, unreadable),
            ("a restored copy does not hold what it should", 0.5, wrong),
        )
        if events
    ]
    return _found(DisasterClass.DATABASE_CORRUPTION, Severity.HIGH, garbled | unreadable | wrong, evidence)


def _outage(signs: Signs, known: Mapping[str, Component]) -> Finding | None:
    """Recovery has not brought it back, or is at it: the more is said, the surer."""
    down = _by_target(
        (one for one in _database_failures(signs, known) if _error(one) is not ErrorClass.PROTOCOL), known
    )
    helpless = {name: one for name, one in _by_target(signs.escalations, known).items() if name in down}
    evidence = [_mass("a database does not answer", 0.6, down)] if down else []
    if helpless:
        evidence.append(_mass("recovery has tried all that it can", 0.8, helpless))
    return _found(DisasterClass.DATABASE_OUTAGE, Severity.CRITICAL, down, evidence)


def _storage(signs: Signs, known: Mapping[str, Component]) -> Finding | None:
    failed = _by_target((one for one in signs.failures if _type(one) is FailureType.STORAGE), known)
    lost = _backups(
        one
        for one in signs.lost_backups
        if isinstance(one.event, BackupFailed)
        and one.event.failure in (BackupFailureClass.STORAGE, BackupFailureClass.CAPACITY)
    )
    evidence = [
        _mass(says, weight, events)
        for says, weight, events in (
            ("a storage does not take, give or delete what it should", 0.7, failed),
            ("backups cannot be written", 0.5, lost),
        )
        if events
    ]
    return _found(DisasterClass.STORAGE_FAILURE, Severity.HIGH, failed | lost, evidence)


_RULES: tuple[Callable[[Signs, Mapping[str, Component]], Finding | None], ...] = (
    _complete,
    _data_center,
    _massive,
    _partial,
    _partition,
    _attack,
    _corruption,
    _outage,
    _storage,
)
_EXTENTS = frozenset(
    {
        DisasterClass.COMPLETE_SYSTEM_FAILURE,
        DisasterClass.DATA_CENTER_FAILURE,
        DisasterClass.MASSIVE_CLUSTER_FAILURE,
        DisasterClass.PARTIAL_CLUSTER_FAILURE,
    }
)


def _unknown(signs: Signs) -> tuple[Finding, ...]:
    """Recovery is at its end with something that no rule explains."""
    if not signs.escalations:
        return ()
    stuck = {str(getattr(one.event, "target", "")): one for one in signs.escalations}
    evidence = _mass("recovery has called people, and nothing explains what has failed", 0.3, stuck)
    finding = _found(DisasterClass.UNKNOWN, Severity.HIGH, stuck, [evidence])
    return () if finding is None else (finding,)


def _failed(signs: Signs, known: Mapping[str, Component]) -> dict[str, Observed]:
    return _by_target(signs.failures, known)


def _database_failures(signs: Signs, known: Mapping[str, Component]) -> list[Observed]:
    return [
        one
        for one in signs.failures
        if isinstance(one.event, FailureDetected)
        and one.event.target in known
        and one.event.failure_type is FailureType.DATABASE_CONNECTION
    ]


def _by_target(events: Iterable[Observed], known: Mapping[str, Component]) -> dict[str, Observed]:
    """The newest event of each component that is watched."""
    found = {str(getattr(one.event, "target", "")): one for one in events}
    return {name: one for name, one in found.items() if name in known}


def _backups(events: Iterable[Observed]) -> dict[str, Observed]:
    return {str(getattr(one.event, "target", "")): one for one in events}


def _type(one: Observed) -> FailureType | None:
    return one.event.failure_type if isinstance(one.event, FailureDetected) else None


def _error(one: Observed) -> ErrorClass | None:
    """Of the newest result that led to the failure."""
    event = one.event
    return event.evidence[-1].error_class if isinstance(event, FailureDetected) and event.evidence else None


def _stage(one: Observed) -> VerificationStage | None:
    return one.event.stage if isinstance(one.event, BackupVerificationFailed) else None


def _mass(says: str, weight: float, events: Mapping[str, Observed]) -> Evidence:
    return Evidence(says=says, weight=weight, events=tuple(sorted(one.sequence for one in events.values())))


def _found(
    disaster: DisasterClass, severity: Severity, affected: Iterable[str], evidence: list[Evidence]
) -> Finding | None:
    if not evidence:
        return None
    doubt = math.prod(1.0 - one.weight for one in evidence)
    return Finding(
        disaster=disaster,
        severity=severity,
        confidence=round(1.0 - doubt, 3),
        affected=tuple(sorted(affected)),
        evidence=tuple(evidence),
    )
