"""Executors for tests: over buckets and a journal in memory, or over NATS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from yaoki.clock import SystemClock, Uuid7Source
from yaoki.runs import (
    ExecutorSettings,
    InMemoryJournal,
    LocalWorker,
    NatsJournal,
    Patience,
    RemoteWorker,
    RunExecutor,
    RunLeases,
    RunRegistry,
    Workers,
)
from yaoki.testing import InMemoryKeyValue

if TYPE_CHECKING:
    from yaoki.messaging import Messaging
    from yaoki.runs.actions import Actions

QUICK = ExecutorSettings(look_s=0.1, poll_s=0.2, grace_s=1.0, patience=Patience(grace_s=0.5, cancel_s=1.0, call_s=2.0))
LONGER_THAN_A_STANDSTILL_S = 3.0
"""A lease that lapses because the machine stood still is taken over, and idempotent steps are done again."""


class InMemory:
    """What executors of one test share."""

    def __init__(self) -> None:
        self.journal: Any = InMemoryJournal()
        self.runs = InMemoryKeyValue()
        self.leases = InMemoryKeyValue()

    def executor(self, actions: Actions, instance: str = "recovery-1") -> RunExecutor:
        """One process."""
        workers = Workers({"local": LocalWorker(actions)})
        leases = RunLeases(self.leases, ttl_s=LONGER_THAN_A_STANDSTILL_S)
        return _executor(instance, self.journal, workers, self.runs, leases)


def on_nats(messaging: Messaging, actions: Actions, instance: str = "recovery-1") -> RunExecutor:
    """One process; workers other than `local` are asked over NATS."""
    return _executor(
        instance,
        NatsJournal(messaging.client, messaging.subjects, source=f"/recovery/{instance}"),
        Workers({"local": LocalWorker(actions)}, remote=lambda name: RemoteWorker(messaging, name)),
        messaging.kv("runs"),
        RunLeases(messaging.kv("leases"), ttl_s=1.0),
    )


def _executor(instance: str, journal: Any, workers: Workers, runs: Any, leases: RunLeases) -> RunExecutor:
    return RunExecutor(
        run_kind="recovery",
        instance=instance,
        journal=journal,
        workers=workers,
        registry=RunRegistry(runs),
        leases=leases,
        clock=SystemClock(),
        ids=Uuid7Source(),
        settings=QUICK,
    )
