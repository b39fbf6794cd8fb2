"""Watches the targets that fall to this prober, and no others, as probers come and go."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
import structlog
from yaoki.errors import TransientError
from yaoki.tasks import end_tasks

from health_probe.scheduler import Job

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from yaoki.messaging.ports import Entry, KeyValue

    from health_probe.board import Board
    from health_probe.judge import Judge
    from health_probe.prober import Prober
    from health_probe.records import HealthRecord
    from health_probe.reporter import Reporter
    from health_probe.roster import Member, Roster
    from health_probe.scheduler import Scheduler

_RETRY_S: Final = 0.5
_log = structlog.get_logger(__name__)


class Counts(Protocol):
    """Counts who watches what."""

    def ownership(self, *, members: int, owned: frozenset[str], presided: int) -> None:
        """Probers alive, and targets of this one."""
        ...

    def taken_over(self, targets: int) -> None:
        """Targets that another prober had watched before."""
        ...


class Ownership:
    """See `membership.Follower` and `board.Reader`.

    A target that is taken over goes on from the stored view of its vantage: counts, open incident, everything. The view
    is written at once under the new owner's name, so that a former owner that does not know yet can write no more.

    A prober that had lost its lease goes on from its own memory where its vantage is the only one: while NATS was away
    nobody else can have written, and what was seen meanwhile is not lost; where somebody has, their view counts. Where
    several vantages vote it begins again at what is stored: a prober that nobody could hear may itself have been
    cut off, and what it saw then is no evidence.

    Args:
        vantages: Of each configured target.
        spawn: Runs something in the background, and ends the process when it fails.
    """

    def __init__(
        self,
        *,
        me: Member,
        process: str,
        vantages: Mapping[str, tuple[str, ...]],
        prober: Prober,
        board: Board,
        judge: Judge,
        reporter: Reporter,
        scheduler: Scheduler,
        health: KeyValue,
        counts: Counts,
        spawn: Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]],
    ) -> None:
        self._me = me
        self._process = process
        self._vantages = vantages
        self._prober = prober
        self._board = board
        self._judge = judge
        self._reporter = reporter
        self._scheduler = scheduler
        self._health = health
        self._counts = counts
        self._spawn = spawn
        self._probing: dict[str, asyncio.Task[None]] = {}
        self._reading: set[str] = set()

    @property
    def watched(self) -> frozenset[str]:
        """Targets that this prober probes now."""
        return frozenset(self._probing)

    def on_roster(self, roster: Roster) -> None:
        """See `Follower.on_roster`."""
        owned = roster.owned(self._me, self._vantages)
        for target in [target for target in self._probing if target not in owned]:
            self._stop(target)
        taken = sum(self._start(target) for target in sorted(owned - self._probing.keys()))
        self._judge.preside(roster.presided(self._me, self._vantages))
        self._counts.taken_over(taken)
        self._counts.ownership(members=len(roster.members), owned=owned, presided=len(self._judge.presided))
        _log.info("watching", targets=len(owned), taken_over=taken, judging=len(self._judge.presided))

    def on_return(self) -> None:
        """See `Follower.on_return`."""
        self._reporter.returned()
        shared = [target for target in self._probing if len(self._vantages[target]) > 1]
        for target in shared:
            self._prober.release(target)
            self._reporter.drop(target)
            self._board.forget(target, self._me.vantage)
        if shared:
            self._reading.update(shared)
            self._spawn(self._read_again(), "views after a break")

    def on_view(self, target: str, vantage: str, *, by: str) -> None:
        """See `Reader.on_view`."""
        if vantage == self._me.vantage and target in self._probing and target not in self._reading:
            # Somebody else believes that it is theirs: their view counts, and the roster says who goes on.
            _log.warning("view written by another prober", target=target, by=by)
            self._reporter.drop(target)
            self._prober.take(target, self._stored(target))
        self._judge.consider(target)

    def on_verdict(self, target: str) -> None:
        """See `Reader.on_verdict`."""
        if target in self._judge.presided:
            self._reporter.deliver(target)
            self._judge.consider(target)

    async def stop(self) -> None:
        """Watch nothing any more."""
        tasks, self._probing = list(self._probing.values()), {}
        await end_tasks(tasks)

    def _start(self, target: str) -> bool:
        """Begin to watch; whether it is taken over from another prober."""
        stored = self._stored(target)
        self._prober.take(target, stored)
        monitored = self._prober.targets[target]
        thresholds = monitored.thresholds
        urgent = stored is not None and stored.incident_id is not None
        job = Job(
            target=target,
            group=monitored.identity.kind,
            probe=monitored.probe,
            interval_s=thresholds.suspect_interval_s if urgent else thresholds.interval_s,
            timeout_s=monitored.timeout_s,
            jitter=monitored.jitter,
        )
        self._probing[target] = self._spawn(self._scheduler.run([job]), f"watch {target}")
        if stored is None or stored.prober.partition("#")[0] == self._me.name:
            return False
        self._reporter.store(msgspec.structs.replace(stored, prober=self._process))
        return True

    def _stop(self, target: str) -> None:
        self._probing.pop(target).cancel()
        self._prober.release(target)
        self._reporter.drop(target)
        self._reading.discard(target)

    def _stored(self, target: str) -> HealthRecord | None:
        known = self._board.view(target, self._me.vantage)
        return known.record if known else None

    async def _read_again(self) -> None:
        for entry in await self._entries():
            self._board.take(entry)
        reading, self._reading = self._reading, set()
        for target in reading:
            if target in self._probing:
                self._prober.take(target, self._stored(target))
                self._judge.consider(target)

    async def _entries(self) -> list[Entry]:
        while True:
            try:
                return await self._health.entries()
            except TransientError as exc:
                _log.warning("cannot read the views after a break, trying again", error=exc.message)
                await asyncio.sleep(_RETRY_S)
