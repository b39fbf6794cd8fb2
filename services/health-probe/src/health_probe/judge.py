"""Judges the targets that this prober presides over, whenever a view of them changes."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from yaoki.events.probe import Ballot

from health_probe.judgement import judge
from health_probe.overview import Opinion
from health_probe.quorum import ballot_of, outcome_of
from health_probe.suppression import Decision, Dependency, Failing, Ruling, Standing, ancestors, patience_for, rule

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from yaoki.clock import Clock

    from health_probe.board import Board
    from health_probe.judgement import Case
    from health_probe.records import VerdictEvent

_STANDINGS = {"healthy": Standing.WELL, "failed": Standing.FAILED, "unknown": Standing.UNKNOWN}


class Bailiff(Protocol):
    """Sees to it that a verdict is stored and told."""

    def deliver(self, target: str, new: Iterable[VerdictEvent] = ()) -> None:
        """The verdict about `target` has changed here; `new` are events that nobody can have told yet."""
        ...


class Judge:
    """See `judgement.judge`; all in memory and synchronous.

    Args:
        cases: Of each configured target.
        depends_on: Of each configured target.
    """

    def __init__(
        self, *, cases: Mapping[str, Case], depends_on: Mapping[str, tuple[str, ...]], board: Board, clock: Clock
    ) -> None:
        self._cases = cases
        self._board = board
        self._clock = clock
        self._bailiff: Bailiff | None = None
        self._ancestors = {name: sorted(ancestors(name, depends_on)) for name in cases}
        self._held: dict[str, float] = {}
        self._descendants: dict[str, list[str]] = {}
        for name, causes in self._ancestors.items():
            for cause in causes:
                self._descendants.setdefault(cause, []).append(name)
        self._presided: frozenset[str] = frozenset()

    def send_to(self, bailiff: Bailiff) -> None:
        """Where verdicts go."""
        self._bailiff = bailiff

    @property
    def presided(self) -> frozenset[str]:
        """Targets that this prober judges now."""
        return self._presided

    def preside(self, targets: frozenset[str]) -> None:
        """Judge `targets` from now on, and no others."""
        new = targets - self._presided
        self._presided = targets
        for target in new:
            known = self._board.verdict(target)
            if known is not None:
                # Under our name, so that a former judge that does not know yet can write no more.
                if known.record.judge.partition("#")[0] != self._board.me.partition("#")[0]:
                    self._board.judged(known.record)
                self._send(target)
            self.consider(target)

    def opinion(self, target: str) -> Opinion:
        """What is known of a target now, whoever judges it."""
        case, known = self._cases[target], self._board.verdict(target)
        ballots = [ballot_of(one, case.thresholds, case.timeout_s) for one in self._board.sightings(target)]
        return Opinion(
            state=known.record.state if known else "unknown",
            outcome=outcome_of(ballots, case.quorum),
            quorum=case.quorum,
            views=tuple(self._board.views(target)),
        )

    def consider(self, target: str) -> None:
        """Judge a target, if it is ours to judge and there is anything to go by."""
        if target not in self._presided or not self._board.views(target):
            return
        known = self._board.verdict(target)
        before = known.record if known else None
        sightings = self._board.sightings(target)
        now = self._clock.now()
        found = judge(
            before, sightings, self._cases[target], now=now, explain=lambda failing: self._explain(target, failing)
        )
        if found.told or found.incident_id is None:
            self._held.pop(target, None)
        if found is not before:
            self._board.judged(found)
            self._send(target, found.untold[len(before.untold) if before else 0 :])
        for held in self._descendants.get(target, ()):
            if held in self._held:
                self.consider(held)

    def _send(self, target: str, new: Iterable[VerdictEvent] = ()) -> None:
        if self._bailiff is not None:
            self._bailiff.deliver(target, new)

    def _explain(self, target: str, failing: Failing) -> Decision:
        parents = self._ancestors[target]
        if not parents:
            return Decision(ruling=Ruling.RAISE)
        patience = patience_for(
            self._cases[target].thresholds,
            [(self._cases[name].thresholds, self._cases[name].timeout_s) for name in parents],
        )
        decision = rule(
            failing,
            [self._dependency(name) for name in parents],
            patience,
            now=self._clock.monotonic(),
            held_since=self._held.get(target),
        )
        if decision.held_since is None:
            self._held.pop(target, None)
        else:
            self._held[target] = decision.held_since
        return decision

    def _dependency(self, name: str) -> Dependency:
        known = self._board.verdict(name)
        if known is None:
            never = self._clock.now()
            return Dependency(name=name, standing=Standing.UNKNOWN, since=never, checked_at=never)
        record = known.record
        return Dependency(
            name=name,
            standing=_STANDINGS.get(record.state, Standing.SUSPECT),
            since=record.since,
            checked_at=self._well_as_of(name) or record.since,
        )

    def _well_as_of(self, name: str) -> datetime | None:
        """Since when enough vantages have seen the target well, by the beginning of each newest probe; None: too few.

        An answer may lie long before the end of its probe, when the prober was busy: what it proves is its beginning.
        """
        case = self._cases[name]
        newest = sorted(
            (
                sighting.view.checked_at - timedelta(milliseconds=sighting.view.last.response_ms)
                for sighting in self._board.sightings(name)
                if sighting.view is not None and ballot_of(sighting, case.thresholds, case.timeout_s) is Ballot.WELL
            ),
            reverse=True,
        )
        needed = len(case.vantages) - case.quorum + 1
        return newest[needed - 1] if len(newest) >= needed else None
