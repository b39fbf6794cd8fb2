"""The prober as a process of its own on a real NATS, watching real servers."""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest
import pytest_asyncio
import yaml
from nats.js.errors import NotFoundError
from yaoki.commands.probe import TargetHealth
from yaoki.events.probe import FailureCleared, FailureDetected, TargetSuspected
from yaoki.messaging import Messaging, NatsSettings
from yaoki.provision import provision
from yaoki.testing import eventually, patient
from yaoki_devstack import ports
from yaoki_devstack.nats import NatsServer
from yaoki_devstack.services import ProcessGroup

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType
    from typing import Self

    Verdict = TargetSuspected | FailureDetected | FailureCleared

PROBER = "prober-1"
VANTAGE = "local"
WHOLE_STORY = ["TargetSuspected", "FailureDetected", "FailureCleared"]
_VERDICTS = msgspec.json.Decoder(TargetSuspected | FailureDetected | FailureCleared)
# A timeout longer than a busy machine stands still: a suspicion that no test caused is one too many.
_TIMING = {
    "interval": "300ms",
    "timeout": "5s",
    "suspect_interval": "100ms",
    "unhealthy_after": 3,
    "healthy_after": 2,
}


class ProbedSystem:
    """NATS and one prober; `configure` it before `start`.

    Attributes:
        environment: Of the prober, beside what every process of the test has.
        program: What of the interpreter's arguments starts the prober.
        pid: Of the prober, in its newest life.
    """

    def __init__(self) -> None:
        self.nats = NatsServer()
        self.processes = ProcessGroup(environment={"YAOKI_TEST_SECRET": "redis-secret", "YAOKI_TEST_DB": "app-secret"})
        self.environment: dict[str, str] = {}
        self.program: tuple[str, ...] = ("-m", "health_probe")
        self.pid = 0
        self._http = ports.lease()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.nats)
        settings = NatsSettings(servers=(self.nats.url,), require_sync=False)
        await provision(settings)
        self.messaging = await self._stack.enter_async_context(
            Messaging.connect(settings, service="test", instance="test-1")
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.processes.close()
        await self._stack.aclose()
        self._http.release()

    @property
    def log(self) -> str:
        """The end of what the prober wrote, over all its lives."""
        return self.processes.tail(PROBER)

    def configure(self, targets: dict[str, Any], *, probe: dict[str, Any] | None = None, **sections: Any) -> None:
        """Write the `yaoki.yaml`; `probe` adds to its section of that name."""
        document = {
            "nats": {"servers": [self.nats.url]},
            "telemetry": {"log": "json"},
            "probe": {
                "http": f"127.0.0.1:{self._http.number}",
                "defaults": _TIMING,
                "self_check": {"settle": "1s"},  # a machine that stands still now and then must let it see in between
                **(probe or {}),
            },
            "targets": targets,
            **sections,
        }
        (self.processes.directory / "yaoki.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")

    def launch(self, *, fault: str = "") -> None:
        """Start the prober and wait for nothing."""
        argv = [sys.executable, *self.program, "--config", "yaoki.yaml", "--instance", PROBER]
        environment = {**self.environment, **({"YAOKI_FAULT": fault} if fault else {})}
        self.pid = self.processes.start(PROBER, argv, environment)

    async def start(self, *states: tuple[str, str]) -> None:
        """Start the prober and wait until each target is in its state."""
        self.launch()
        for target, state in states:
            await self.wait_state(target, state)

    async def kill(self) -> None:
        """SIGKILL to the prober."""
        await self.processes.kill(PROBER)

    async def view(self, target: str) -> TargetHealth | None:
        """What stands in the bucket `health`."""
        entry = await self.messaging.kv("health").get(f"{target}.{VANTAGE}")
        return None if entry is None or entry.value is None else msgspec.json.decode(entry.value, type=TargetHealth)

    async def wait_state(self, target: str, state: str, *, within: float = 40.0) -> TargetHealth:
        """The published view, as soon as it says `state`."""

        async def reached() -> TargetHealth | None:
            assert self.processes.running(PROBER), self.log
            view = await self.view(target)
            assert view is not None, self.log
            assert view.state == state, f"{view.state}: {view.last}"
            return view

        found = await eventually(reached, within=within)
        assert found is not None
        return found

    async def verdicts(self, target: str) -> list[Verdict]:
        """All that is stored about a target, oldest first."""
        subject = self.messaging.subjects.events(context="probe", entity=target)
        found: list[Verdict] = []
        sequence = 1
        while True:
            try:
                message = await self.messaging.jetstream.get_msg("EVENTS", sequence, subject=subject, next=True)
            except NotFoundError:
                return found
            found.append(_VERDICTS.decode(message.data or b""))
            sequence = (message.seq or 0) + 1

    async def told(self, target: str) -> list[str]:
        """Names of the events about a target, oldest first."""
        return [type(event).__name__ for event in await self.verdicts(target)]

    async def get(self, path: str) -> httpx.Response:
        """Ask the prober over HTTP."""
        async with httpx.AsyncClient(trust_env=False, timeout=patient(10.0)) as client:
            return await client.get(f"http://127.0.0.1:{self._http.number}{path}")


@pytest_asyncio.fixture
async def system() -> AsyncIterator[ProbedSystem]:
    """Not configured, the prober not started."""
    async with ProbedSystem() as running:
        yield running


@pytest.fixture
def whole_story() -> list[str]:
    """What is told of one failure, from suspicion to clearing."""
    return list(WHOLE_STORY)
