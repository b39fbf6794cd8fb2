"""The real prober, as a process of its own on a real NATS, for benchmarks."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import yaml
from prometheus_client.parser import text_string_to_metric_families
from yaoki.messaging import NatsSettings
from yaoki.provision import provision
from yaoki_devstack import ports
from yaoki_devstack.nats import NatsServer
from yaoki_devstack.services import ProcessGroup

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

NAME = "prober-1"
_POLL_S = 0.2


class ProberProcess:
    """NATS and one prober; `start` it with its targets."""

    def __init__(self) -> None:
        self.nats = NatsServer()
        self.processes = ProcessGroup()
        self._http = ports.lease()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.nats)
        await self._stack.enter_async_context(self.processes)
        self._client = await self._stack.enter_async_context(httpx.AsyncClient(trust_env=False))
        self.settings = NatsSettings(servers=(self.nats.url,), require_sync=False)
        await provision(self.settings)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()
        self._http.release()

    def start(self, targets: dict[str, dict[str, Any]], **defaults: Any) -> None:
        """Start the prober; `defaults` are those of `probe.defaults`."""
        document = {
            "nats": {"servers": [self.nats.url]},
            "telemetry": {"log": "json"},
            "probe": {"http": f"127.0.0.1:{self._http.number}", "defaults": defaults},
            "targets": targets,
        }
        (self.processes.directory / "yaoki.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
        argv = [sys.executable, "-m", "health_probe", "--config", "yaoki.yaml", "--instance", NAME]
        self.process = psutil.Process(self.processes.start(NAME, argv))

    async def reached(self, metric: str, value: float, *, within: float) -> None:
        """Return when the sum of a metric's samples is at least `value`.

        Raises:
            RuntimeError: The prober has ended; with the end of its log.
            TimeoutError: It did not come to that.
        """
        async with asyncio.timeout(within):
            while await self.total(metric) < value:
                if not self.processes.running(NAME):
                    raise RuntimeError(f"the prober ended: {self.processes.tail(NAME)}")
                await asyncio.sleep(_POLL_S)

    async def total(self, metric: str) -> float:
        """Sum of a metric's samples; 0 before the prober answers."""
        return sum(value for _, value in await self.samples(metric))

    async def samples(self, metric: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of each sample of that exact name."""
        try:
            page = await self._client.get(f"http://127.0.0.1:{self._http.number}/metrics", timeout=30)
        except httpx.TransportError:
            return []
        return list(_samples(page.text, metric))

    def cpu_s(self) -> float:
        """Processor time that the prober has used."""
        used = self.process.cpu_times()
        return float(used.user + used.system)


def _samples(page: str, metric: str) -> Iterator[tuple[dict[str, str], float]]:
    for family in text_string_to_metric_families(page):
        yield from ((sample.labels, sample.value) for sample in family.samples if sample.name == metric)
