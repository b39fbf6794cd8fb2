"""An application dies and is restarted on its host: prober, recovery and the host's agent as processes of their own."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from yaoki.commands.recovery import AutomationState, RunHistory, RunPage, ShowAutomation
from yaoki.errors import TransientError
from yaoki.messaging import Messaging
from yaoki.messaging.settings import NatsSettings
from yaoki.plans import OutcomeStatus
from yaoki.provision import provision
from yaoki.testing import eventually
from yaoki_devstack.nats import NatsServer
from yaoki_devstack.ports import lease as lease_port
from yaoki_devstack.process import spawn

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator

    from yaoki.commands.recovery import RunView

pytestmark = [pytest.mark.real]

PYTHON = os.path.realpath(sys.executable)
_APPLICATION = """
import http.server, os, pathlib, sys
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler)
pathlib.Path(sys.argv[2]).write_text(str(os.getpid()))
server.serve_forever()
"""


class Site:
    """One application on one host, and everything that looks after it."""

    def __init__(self, directory: Path, nats: NatsServer, port: int) -> None:
        self.directory = directory
        self.pid_file = directory / "orders.pid"
        self.command = [PYTHON, "-c", _APPLICATION, str(port), str(self.pid_file)]
        self._processes: list[subprocess.Popen[bytes]] = []
        configuration: dict[str, Any] = {
            "nats": {"servers": [nats.url]},
            "probe": {"defaults": {"interval": "500ms", "suspect_interval": "200ms", "timeout": "2s"}},
            "targets": {"orders-api": {"kind": "http", "url": f"http://127.0.0.1:{port}/"}},
            "agents": {
                "web1": {
                    "guards": "host",
                    "repairs": {
                        "processes": {
                            "orders": {"pid_file": str(self.pid_file), "program": PYTHON, "start": self.command}
                        }
                    },
                }
            },
            "recovery": {
                "transition_delay": "100ms",
                "applications": {
                    "orders": {"targets": ["orders-api"], "instances": [{"agent": "web1", "process": "orders"}]}
                },
            },
        }
        (directory / "yaoki.yaml").write_text(yaml.safe_dump(configuration), encoding="utf-8")

    def start(self, *words: str) -> None:
        """Start a process of ours."""
        argv = [sys.executable, "-m", *words, "--config", str(self.directory / "yaoki.yaml")]
        log = self.directory / f"{words[0]}-{words[-1]}.log"
        self._processes.append(spawn(argv, cwd=Path("/"), log_file=log, environment=dict(os.environ)))

    def start_application(self) -> None:
        """As its supervisor would on the first day."""
        log = self.directory / "application.log"
        self._processes.append(spawn(self.command, cwd=Path("/"), log_file=log))

    def pid(self) -> int:
        """Of the application; 0 before it has begun."""
        return int(self.pid_file.read_text(encoding="ascii") or 0) if self.pid_file.exists() else 0

    def stop(self) -> None:
        """Whatever runs."""
        for process in self._processes:
            process.kill()
            process.wait()
        with suppress(ProcessLookupError):
            os.kill(self.pid(), signal.SIGKILL)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[tuple[Site, Messaging]]:
    port = lease_port()
    async with NatsServer() as nats:
        settings = NatsSettings(servers=(nats.url,))
        await provision(settings)
        one = Site(tmp_path, nats, port.number)
        try:
            one.start_application()
            await eventually(one.pid, within=20.0)
            one.start("health_probe", "--role", "agent", "--agent", "web1")
            one.start("health_probe", "--instance", "prober-1")
            one.start("recovery", "--instance", "recovery-1")
            async with Messaging.connect(settings, service="test", instance="test-1") as messaging:
                await messaging.start()
                yield one, messaging
        finally:
            one.stop()
            port.release()


async def test_a_dead_application_is_started_again_and_the_fresh_probe_ends_the_chain(
    site: tuple[Site, Messaging],
) -> None:
    """What cannot help is skipped in the journal; history names the run by its target."""
    one, messaging = site
    await eventually(lambda: _is_healthy(messaging), within=60.0)
    old = one.pid()

    os.kill(old, signal.SIGKILL)
    run = await eventually(lambda: _finished(messaging), within=90.0)

    assert run is not None
    assert run.status == "completed"
    assert run.facts["failure"]["failure_type"] == "error_rate"
    steps = [step for step in run.steps if step.branch in {"flush-cache", "restart-application"}]
    # A probe that came before the application listened counts against nobody: there was another one.
    early = [step for step in steps if step.step == "goal" and step.status is OutcomeStatus.FAILED]
    assert [(step.step, step.status) for step in steps if step not in early] == [
        ("flush-cache-not-applicable", OutcomeStatus.SKIPPED),
        ("look-restart-application-1", OutcomeStatus.SUCCEEDED),
        ("restart-application-1", OutcomeStatus.SUCCEEDED),
        ("goal", OutcomeStatus.SUCCEEDED),
    ]
    assert one.pid() not in {0, old}
    await eventually(lambda: _is_healthy(messaging), within=60.0)


async def _is_healthy(messaging: Messaging) -> bool:
    """Everybody is up and nothing has failed."""
    with suppress(TransientError):
        state: AutomationState = await messaging.request(ShowAutomation())
        entry = await messaging.kv("health").get("orders-api")
        return state.open_failures == () and entry is not None and b'"healthy"' in (entry.value or b"")
    return False


async def _finished(messaging: Messaging) -> RunView | None:
    with suppress(TransientError):
        page: RunPage = await messaging.request(RunHistory(target="orders-api"))
        return next((run for run in page.runs if run.ended_at is not None), None)
    return None
