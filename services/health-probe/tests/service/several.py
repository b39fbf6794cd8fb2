"""Several probers as processes of their own on a real NATS, each with a way of its own to NATS and to the targets."""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import msgspec
import yaml
from health_probe.records import HealthRecord, VerdictRecord, record_key, verdict_key
from health_probe.roster import Member, Roster
from nats.js.errors import NotFoundError
from yaoki.events import EVENT_TYPES
from yaoki.messaging import Messaging, NatsSettings
from yaoki.provision import provision
from yaoki.testing import eventually
from yaoki_devstack.nats import NatsServer
from yaoki_devstack.proxy import TcpProxy
from yaoki_devstack.redis import RedisServer
from yaoki_devstack.services import ProcessGroup

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from yaoki.events import Event


def _union() -> Any:
    union: Any = EVENT_TYPES[0]
    for kind in EVENT_TYPES[1:]:
        union |= kind
    return union


_EVENTS = msgspec.json.Decoder(_union())
# A timeout longer than a busy machine stands still: a suspicion that this test did not cause is one too many.
_TIMING: dict[str, Any] = {
    "interval": "400ms",
    "timeout": "4s",
    "suspect_interval": "200ms",
    "unhealthy_after": 3,
    "healthy_after": 2,
    "jitter": 0,
}


class Prober:
    """One of them: its name is that of its process."""

    def __init__(self, name: str, vantage: str, to_nats: TcpProxy, to_targets: TcpProxy) -> None:
        self.name = name
        self.vantage = vantage
        self.to_nats = to_nats
        self.to_targets = to_targets

    async def cut_off(self, *, silently: bool = False) -> None:
        """It reaches nobody any more; silently: nothing tells it, and what it has sent meanwhile arrives at the end."""
        if silently:
            self.to_nats.blackhole()
            self.to_targets.blackhole()
            return
        await self.to_nats.cut()
        await self.to_targets.cut()

    async def let_back(self) -> None:
        """It reaches everybody again."""
        await self.to_targets.restore()
        await self.to_nats.restore()


class SeveralProbers:
    """NATS, one Redis that all targets are names of, and probers.

    Args:
        probers: Vantage of each, by name.
        targets: How many.
        lease: How long a silent prober keeps its targets; short only where a test waits for that.
        timeout: Of one probe, and with it how long a failure waits for that of its parent.
        depends_on: Child and parent.
    """

    def __init__(
        self,
        probers: dict[str, str],
        *,
        targets: int = 1,
        lease: str = "1s",
        timeout: str = _TIMING["timeout"],
        depends_on: dict[str, str] | None = None,
        **probe: Any,
    ) -> None:
        timing = {**_TIMING, "timeout": timeout}
        self._depends_on = depends_on or {}
        self._vantages = probers
        self.targets = [f"cache-{number}" for number in range(targets)]
        self._probe = {
            "lease": lease,
            "vantages": sorted(set(probers.values())),
            "defaults": timing,
            "self_check": {"settle": "1s"},
            **probe,
        }
        self.nats = NatsServer()
        self.redis = RedisServer(name="target")
        self.processes = ProcessGroup(environment={"YAOKI_REDIS": "redis-secret"})
        self.probers: dict[str, Prober] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        enter = self._stack.enter_async_context
        await enter(self.nats)
        await enter(self.redis)
        settings = NatsSettings(servers=(self.nats.url,), require_sync=False)
        await provision(settings)
        self.messaging = await enter(Messaging.connect(settings, service="test", instance="test-1"))
        self.health = self.messaging.kv("health")
        for name, vantage in self._vantages.items():
            to_nats, to_targets = TcpProxy(self.nats.port), TcpProxy(self.redis.port)
            self.probers[name] = Prober(name, vantage, await enter(to_nats), await enter(to_targets))
        await enter(self.processes)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def start(self, *names: str) -> None:
        """Start these probers (all, if none is named) and wait until every target is healthy in all eyes."""
        for name in names or self.probers:
            self.launch(name)
        await self.all_well()

    def launch(self, name: str) -> None:
        """Start one and wait for nothing."""
        prober = self.probers[name]
        target = {"kind": "redis", "host": "127.0.0.1", "port": prober.to_targets.port, "password": "env:YAOKI_REDIS"}
        document = {
            "nats": {"servers": [f"nats://127.0.0.1:{prober.to_nats.port}"], "require_sync": False},
            "telemetry": {"log": "json"},
            "probe": self._probe,
            "targets": {name: {**target, "depends_on": self._parents(name)} for name in self.targets},
        }
        file = self.processes.directory / f"{name}.yaml"
        file.write_text(yaml.safe_dump(document, default_flow_style=False), encoding="utf-8")
        argv = [sys.executable, "-m", "health_probe", "--config", file.name, "--instance", name]
        self.processes.start(name, [*argv, "--vantage", prober.vantage])

    def _parents(self, name: str) -> list[str]:
        return [self._depends_on[name]] if name in self._depends_on else []

    async def all_well(self) -> None:
        """Wait until every vantage and every verdict says healthy."""

        async def well() -> bool:
            for target in self.targets:
                verdict = await self.verdict(target)
                assert verdict is not None, self.logs()
                assert (target, verdict.state, verdict.untold) == (target, "healthy", ()), self.logs()
                assert {vote.ballot for vote in verdict.votes} == {"well"}
            return True

        await eventually(well, within=30.0)

    async def verdict(self, target: str) -> VerdictRecord | None:
        entry = await self.health.get(verdict_key(target))
        return None if entry is None else msgspec.json.decode(entry.value or b"", type=VerdictRecord)

    async def view(self, target: str, vantage: str) -> HealthRecord:
        entry = await self.health.get(record_key(target, vantage))
        assert entry is not None, self.logs()
        return msgspec.json.decode(entry.value or b"", type=HealthRecord)

    async def owners(self, vantage: str) -> dict[str, str]:
        """Who wrote the newest view of each target from there."""
        found = {}
        for target in self.targets:
            found[target] = (await self.view(target, vantage)).prober.partition("#")[0]
        return found

    async def wait_owners(self, vantage: str, names: set[str], within: float = 30.0) -> dict[str, str]:
        """Wait until each target of a vantage is watched by whom it falls to while these are alive."""
        roster = Roster(frozenset(Member(vantage, name) for name in names))
        owners = {target: roster.owner(target, vantage) for target in self.targets}
        expected = {target: owner.name for target, owner in owners.items() if owner is not None}
        assert set(expected.values()) == names, "more targets are needed for each to get one"

        async def watched() -> bool:
            assert await self.owners(vantage) == expected, self.logs()
            return True

        await eventually(watched, within=within)
        return expected

    async def more_results(self, vantage: str, *, results: int = 3) -> None:
        """Wait until every target has been looked at from there some more."""
        before = {target: (await self.view(target, vantage)).checked_at for target in self.targets}
        for _ in range(results):

            async def moved(since: dict[str, Any] = before) -> bool:
                for target in self.targets:
                    assert (await self.view(target, vantage)).checked_at > since[target], self.logs()
                return True

            await eventually(moved, within=30.0)
            before = {target: (await self.view(target, vantage)).checked_at for target in self.targets}

    async def events(self) -> list[Event]:
        """Everything that is stored, oldest first."""
        found: list[Event] = []
        sequence = 1
        while True:
            try:
                message = await self.messaging.jetstream.get_msg(
                    "EVENTS", sequence, next=True, subject="yaoki.evt.probe.>"
                )
            except NotFoundError:
                return found
            found.append(_EVENTS.decode(message.data or b""))
            sequence = (message.seq or 0) + 1

    async def told(self, target: str) -> list[str]:
        """Names of the events about a target, oldest first."""
        return [type(event).__name__ for event in await self.events() if event.entity == target]

    async def wait_told(self, target: str, expected: list[str]) -> None:
        """Wait until exactly this is told."""

        async def told() -> bool:
            found = await self.told(target)
            assert found == expected, f"{target}: {found}\n{self.logs()}"
            return True

        await eventually(told, within=30.0)

    def logs(self) -> str:
        """The ends of all logs."""
        return "\n".join(f"--- {name}\n{self.processes.tail(name)[-1500:]}" for name in self.processes.names())
