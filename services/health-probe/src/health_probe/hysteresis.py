"""When a target counts as failed, and when as well again: a pure state machine over probe results.

    unknown ──success──> healthy ──failure──> suspect ──N failures in a row──> failed
       ^                    │  ^                 │                                │
       └──prober at fault───┘  └──M successes────┴───────────M successes──────────┘

    any of them ──too many changes among the newest results──> flapping ──steady again──> failed, healthy or suspect

A result with status `unknown` (the prober itself was at fault) is no evidence: it changes no count, opens
nothing and clears nothing; it only takes away the claim that the target is healthy. An unknown target is not
healthy, but raises no failure. `degraded` is a success here: the target works.

While a target flaps nothing is decided about it: it stays in its incident, which opens if there was none. A failure
that was detected before stays open, and one that was not is not detected, because the next result would take either
back. When it is steady again it is judged by its newest results, and what is due is told then: the clearing of a
failure that is over, the detection of one that stays.

Safety invariants, whatever the order of results:

- no detection without `unhealthy_after` failures in a row, none of them the prober's own;
- each detection is followed by exactly one clearing, of the same incident, before the next detection;
- while a target flaps it is neither detected nor cleared; the same result for a whole window ends the flapping, so
  a true failure is told late, but told;
- an incident keeps its identity from the first suspicion to the clearing, also across a restart.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - msgspec reads the annotation at run time
from enum import StrEnum
from hashlib import blake2s
from typing import Final

import msgspec
from yaoki.events.probe import ProbeResult, ProbeStatus

from health_probe.flapping import BAD, GOOD, Damping, flaps, with_result

EVIDENCE_LIMIT: Final = 10
"""How many of the newest results an event carries."""

_HEX_DIGITS_OF_INCIDENT: Final = 8


class Health(StrEnum):
    """State of a target."""

    HEALTHY = "healthy"
    SUSPECT = "suspect"
    FAILED = "failed"
    FLAPPING = "flapping"
    UNKNOWN = "unknown"


class Transition(StrEnum):
    """What has to be told to the world."""

    SUSPECTED = "suspected"
    DETECTED = "detected"
    CLEARED = "cleared"
    FLAPPING = "flapping"
    STEADIED = "steadied"


class Thresholds(msgspec.Struct, frozen=True, kw_only=True):
    """How much evidence a change of mind takes.

    Attributes:
        unhealthy_after: Failures in a row until a target is failed.
        healthy_after: Successes in a row until a suspect or failed target is healthy.
        interval_s: Between probes of a target that is well.
        suspect_interval_s: Between probes while suspect, failed or flapping.
        damping: When it counts as flapping.
    """

    unhealthy_after: int = 3
    healthy_after: int = 2
    interval_s: float = 30.0
    suspect_interval_s: float = 5.0
    damping: Damping = Damping()


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """From the first suspicion to the clearing.

    Attributes:
        first_failed_at: When the first of its failing probes ended, UTC.
        detected: It was a failure, not only a suspicion.
        evidence: Its newest results, oldest first.
    """

    id: str
    first_failed_at: datetime
    detected: bool = False
    evidence: tuple[ProbeResult, ...] = ()


class TargetState(msgspec.Struct, frozen=True, kw_only=True):
    """All that the machine remembers of one target.

    Attributes:
        since: When `health` was entered, UTC.
        failures: Failing results in a row.
        successes: Good results in a row.
        incident: While suspect, failed or flapping.
        last: The newest result, whatever it says.
        recent: The newest results that are evidence, oldest first, as `flapping` marks them.
    """

    target: str
    vantage: str
    health: Health = Health.UNKNOWN
    since: datetime
    failures: int = 0
    successes: int = 0
    incident: Incident | None = None
    last: ProbeResult | None = None
    recent: str = ""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """A transition with the facts that its event needs.

    Attributes:
        at: End of the probe that decided it, UTC.
        failures: Failures in a row at that moment.
    """

    transition: Transition
    incident: Incident
    at: datetime
    failures: int


def initial(target: str, vantage: str, now: datetime) -> TargetState:
    """A target of which nothing is known."""
    return TargetState(target=target, vantage=vantage, since=now)


def advance(
    state: TargetState, result: ProbeResult, thresholds: Thresholds
) -> tuple[TargetState, tuple[Decision, ...]]:
    """Take one result in; return the new state and what has to be told, in order."""
    if result.status is ProbeStatus.UNKNOWN:
        return _without_evidence(state, result), ()
    bad = result.status is ProbeStatus.UNHEALTHY
    flapped = state.health is Health.FLAPPING
    state = _counted(state, result, bad=bad, damping=thresholds.damping)
    if flaps(state.recent, thresholds.damping, before=flapped):
        return _while_flapping(state, result)
    if flapped:
        return _after_flapping(state, result, thresholds)
    return (_after_failure if bad else _after_success)(state, result, thresholds)


def next_interval(state: TargetState, thresholds: Thresholds) -> float:
    """Seconds until the next probe: sooner from the first suspicion until the target is well again."""
    return thresholds.interval_s if state.incident is None else thresholds.suspect_interval_s


def _without_evidence(state: TargetState, result: ProbeResult) -> TargetState:
    state = msgspec.structs.replace(state, last=result)
    return _entering(state, Health.UNKNOWN, result.at) if state.health is Health.HEALTHY else state


def _counted(state: TargetState, result: ProbeResult, *, bad: bool, damping: Damping) -> TargetState:
    return msgspec.structs.replace(
        state,
        last=result,
        failures=state.failures + 1 if bad else 0,
        successes=0 if bad else state.successes + 1,
        recent=with_result(state.recent, BAD if bad else GOOD, damping),
        incident=_with_evidence(state.incident, result) if state.incident else None,
    )


def _while_flapping(state: TargetState, result: ProbeResult) -> tuple[TargetState, tuple[Decision, ...]]:
    if state.health is Health.FLAPPING:
        return state, ()
    incident = state.incident or _open_incident(state, result)
    state = _entering(msgspec.structs.replace(state, incident=incident), Health.FLAPPING, result.at)
    return state, (_decision(Transition.FLAPPING, state, incident, result),)


def _after_flapping(
    state: TargetState, result: ProbeResult, thresholds: Thresholds
) -> tuple[TargetState, tuple[Decision, ...]]:
    """Steady again: judge it by its newest results, as if it had been suspect or failed all the time."""
    incident = state.incident or _open_incident(state, result)
    steadied = _decision(Transition.STEADIED, state, incident, result)
    health = Health.FAILED if incident.detected else Health.SUSPECT
    state = _entering(msgspec.structs.replace(state, incident=incident), health, result.at)
    judge = _after_failure if state.failures else _after_success
    state, told = judge(state, result, thresholds)
    return state, (steadied, *told)


def _after_failure(
    state: TargetState, result: ProbeResult, thresholds: Thresholds
) -> tuple[TargetState, tuple[Decision, ...]]:
    told: list[Decision] = []
    incident = state.incident
    if incident is None:
        incident = _open_incident(state, result)
        state = _entering(msgspec.structs.replace(state, incident=incident), Health.SUSPECT, result.at)
        told.append(_decision(Transition.SUSPECTED, state, incident, result))
    if state.health is not Health.FAILED and state.failures >= thresholds.unhealthy_after:
        incident = msgspec.structs.replace(incident, detected=True)
        state = _entering(msgspec.structs.replace(state, incident=incident), Health.FAILED, result.at)
        told.append(_decision(Transition.DETECTED, state, incident, result))
    return state, tuple(told)


def _after_success(
    state: TargetState, result: ProbeResult, thresholds: Thresholds
) -> tuple[TargetState, tuple[Decision, ...]]:
    incident = state.incident
    if incident is None:
        # Nothing was ever held against it, so one success is enough.
        return _entering(state, Health.HEALTHY, result.at), ()
    if state.successes < thresholds.healthy_after:
        return state, ()
    state = msgspec.structs.replace(_entering(state, Health.HEALTHY, result.at), incident=None)
    # A suspicion that came to nothing was never a failure, so there is nothing to clear.
    told = (_decision(Transition.CLEARED, state, incident, result),) if incident.detected else ()
    return state, told


def _entering(state: TargetState, health: Health, at: datetime) -> TargetState:
    return state if state.health is health else msgspec.structs.replace(state, health=health, since=at)


def _with_evidence(incident: Incident, result: ProbeResult) -> Incident:
    return msgspec.structs.replace(incident, evidence=(*incident.evidence, result)[-EVIDENCE_LIMIT:])


def _open_incident(state: TargetState, result: ProbeResult) -> Incident:
    opened = Incident(id=incident_id(state.target, state.vantage, result.at), first_failed_at=result.at)
    return _with_evidence(opened, result)


def incident_id(target: str, vantage: str, first_failed_at: datetime) -> str:
    """Identity of an incident: sorts by time, can stand in a subject, is the same whenever it is derived."""
    seed = f"{target}\n{vantage}\n{first_failed_at.isoformat()}".encode()
    tail = blake2s(seed).hexdigest()[:_HEX_DIGITS_OF_INCIDENT]
    return f"{first_failed_at:%Y%m%dt%H%M%S}{first_failed_at.microsecond // 1000:03d}-{tail}"


def _decision(transition: Transition, state: TargetState, incident: Incident, result: ProbeResult) -> Decision:
    return Decision(transition=transition, incident=incident, at=result.at, failures=state.failures)
