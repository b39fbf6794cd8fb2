"""Servers that are measured beside Yaoki, or that are probed: pinned in scripts/tools-pin.txt, fetched on first use."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from yaoki.testing import eventually

if TYPE_CHECKING:
    from yaoki_devstack.services import ProcessGroup

ROOT = Path(__file__).parents[1]

# A real server, cheap enough never to be what is measured: it answers without looking anything up.
_HAPROXY = """
global
    maxconn 400
    nbthread 1
defaults
    mode http
    timeout connect 60s
    timeout client 60s
    timeout server 60s
frontend health
    bind 127.0.0.1:{port}
    http-request return status 200 content-type application/json string '{{"status":"ok"}}'
"""

_BLACKBOX = """
modules:
  http_2xx:
    prober: http
    timeout: 10s
    http:
      preferred_ip_protocol: ip4
"""


async def start_web_server(processes: ProcessGroup, port: int, name: str = "web") -> None:
    """HAProxy as the process `name`, which answers every request with status 200 and 15 bytes of JSON."""
    (processes.directory / f"{name}.cfg").write_text(_HAPROXY.format(port=port), encoding="utf-8")
    processes.start(name, [tool("haproxy"), "-db", "-f", f"{name}.cfg"])
    await _listening(processes, name, port)


async def start_blackbox_exporter(processes: ProcessGroup, port: int) -> psutil.Process:
    """blackbox_exporter with the module `http_2xx`."""
    (processes.directory / "blackbox.yml").write_text(_BLACKBOX, encoding="utf-8")
    options = ["--config.file=blackbox.yml", f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]
    pid = processes.start("blackbox", [tool("prometheus-blackbox-exporter"), *options])
    await _listening(processes, "blackbox", port)
    return psutil.Process(pid)


def tool(name: str) -> str:
    """Path of a pinned program."""
    # The launcher replaces itself by the program, so the process that is started is the one that is measured.
    launcher = ROOT / ".tools" / "bin" / name
    if not launcher.exists():
        fetch = [sys.executable, str(ROOT / "scripts" / "fetch_tools.py"), name]
        subprocess.run(fetch, check=True, stdout=sys.stderr)  # noqa: S603 - our own script, no shell
    return str(launcher)


async def _listening(processes: ProcessGroup, name: str, port: int) -> None:
    async def connects() -> bool:
        if not processes.running(name):
            raise RuntimeError(f"{name} ended: {processes.tail(name)}")
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        return True

    await eventually(connects, within=20.0)
