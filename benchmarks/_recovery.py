"""The recovery service as a process of its own, with a prober and an agent that are played here."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psutil
import yaml
from yaoki.commands.probe import CheckReply, CheckTarget
from yaoki.commands.worker import OrderReply, PerformOrder
from yaoki.events.probe import FailureCleared, FailureDetected, FailureType, ProbeResult, ProbeStatus
from yaoki.messaging import Messaging, NatsSettings
from yaoki.plans import Outcome, OutcomeStatus
from yaoki.provision import provision
from yaoki.testing import eventually
from yaoki_devstack.nats import NatsServer
from yaoki_devstack.services import ProcessGroup

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from yaoki.plans import Order

AGENT = "bench"
FAILURE = FailureType.NETWORK_PARTITION
_READY_S = 60.0
_NEVER = 1_000_000


class Scene:
    """Everything outside of the recovery service.

    Attributes:
        messaging: Of this process.
        process: The recovery service.
        well: Targets that a probe finds healthy; the others it finds broken.
        on_check: Called with the target of every fresh probe, before it is answered.
        on_order: Called with every order that the agent gets, before it is carried out.
    """

    def __init__(self, messaging: Messaging, process: psutil.Process) -> None:
        self.messaging = messaging
        self.process = process
        self.well: set[str] = set()
        self.on_check: Callable[[str], None] = lambda _target: None
        self.on_order: Callable[[Order], None] = lambda _order: None

    async def check(self, request: CheckTarget) -> CheckReply:
        """A probe that answers at once."""
        self.on_check(request.target)
        status = ProbeStatus.HEALTHY if request.target in self.well else ProbeStatus.UNHEALTHY
        return CheckReply(
            target=request.target, result=ProbeResult(status=status, at=datetime.now(UTC), response_ms=0.1)
        )

    async def perform(self, request: PerformOrder) -> OrderReply:
        """A hand that repairs at once what its run is about."""
        order = request.order
        self.on_order(order)
        if not order.params.get("dry_run"):
            self.well.add(order.resource)
        result: dict[str, Any] = {"would": "repair it", "before": {}, "facts": {}}
        return OrderReply(outcome=Outcome(command_id=order.command_id, status=OutcomeStatus.SUCCEEDED, result=result))

    async def fail(self, target: str, incident: str) -> None:
        """Publish the failure of a target; it is acknowledged when this returns."""
        self.well.discard(target)
        now = datetime.now(UTC)
        failure = FailureDetected(
            target=target,
            target_kind="tcp",
            region="local",
            vantage="local",
            failure_type=FAILURE,
            incident_id=incident,
            first_failed_at=now,
            failures=3,
        )
        await self.messaging.publisher.publish(failure, event_id=f"{incident}.failed", correlation=incident)

    async def clear(self, target: str, incident: str) -> None:
        """Publish that it is well again."""
        cleared = FailureCleared(
            target=target,
            target_kind="tcp",
            region="local",
            vantage="local",
            failure_type=FAILURE,
            incident_id=incident,
            down_since=datetime.now(UTC),
            downtime_s=1.0,
        )
        await self.messaging.publisher.publish(cleared, event_id=f"{incident}.cleared", correlation=incident)


@asynccontextmanager
async def scene(targets: int, *, guards: dict[str, Any]) -> AsyncIterator[Scene]:
    """A recovery service for so many targets, each repaired by one command of one agent."""
    async with NatsServer() as server, ProcessGroup() as processes:
        settings = NatsSettings(servers=(server.url,), monitoring_url=server.monitor_url)
        await provision(settings)
        file = processes.directory / "yaoki.yaml"
        file.write_text(yaml.safe_dump(_configuration(server, targets, guards)), encoding="utf-8")
        async with Messaging.connect(settings, service="bench", instance="bench-1") as messaging:
            pid = processes.start("recovery", [sys.executable, "-m", "recovery", "--config", str(file)])
            found = Scene(messaging, psutil.Process(pid))
            messaging.serve(CheckTarget, found.check)
            messaging.serve(PerformOrder, found.perform, service=f"agent-{AGENT}")
            await messaging.start()
            await eventually(lambda: "recovery is ready" in processes.tail("recovery"), within=_READY_S)
            yield found


def names(targets: int) -> list[str]:
    """What the targets are called."""
    return [f"target-{number}" for number in range(targets)]


def _configuration(server: NatsServer, targets: int, guards: dict[str, Any]) -> dict[str, Any]:
    link = {"action": "run-command", "params": {"agent": AGENT, "command": "repair"}}
    return {
        "nats": {"servers": [server.url], "monitoring_url": server.monitor_url},
        "telemetry": {"log": "json"},
        "targets": {name: {"kind": "tcp", "host": "127.0.0.1", "port": 9} for name in names(targets)},
        "agents": {
            AGENT: {
                "guards": "host",
                "repairs": {"commands": {"repair": {"run": ["/bin/true"], "effect": "idempotent"}}},
            }
        },
        "recovery": {
            "transition_delay": "0s",
            "chains": {FAILURE.value: [link]},
            "guards": {"runs_per_hour": _NEVER, "pause": "0s", "soak": "0s", **guards},
        },
    }
