"""docs/probes.md: every line that begins with `nats` does what the page says, with the real command."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import nats
import pytest
from health_probe.heartbeats import Expectation
from nats.js.api import DiscardPolicy
from yaoki.config import Secret
from yaoki.testing import eventually, patient

from .test_documented_probes import PAGE
from .test_heartbeat import TOKEN, book_with, prober, provisioned

if TYPE_CHECKING:
    from datetime import datetime

    from health_probe.heartbeats import HeartbeatBook

pytestmark = [pytest.mark.real, pytest.mark.nats_cli, pytest.mark.timeout(120)]

LINES = re.findall(r"^nats .+$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
CHECK_INS = [line for line in LINES if "check-in" in line]
STREAMS = [line for line in LINES if line.startswith("nats stream")]
JOB = "nightly-report"


async def run(line: str, url: str) -> str:
    """What the line prints; the token of the page is the job's."""
    finished = await asyncio.to_thread(
        subprocess.run,
        ["bash", "-c", line.replace('"..."', f'"{TOKEN}"')],
        env={**os.environ, "NATS_URL": url},
        capture_output=True,
        text=True,
        timeout=patient(20.0),
    )
    printed = finished.stdout + finished.stderr
    assert finished.returncode == 0, printed
    return printed


def test_no_line_is_left_out() -> None:
    assert (len(CHECK_INS), len(STREAMS)) == (2, 1)
    assert sorted(LINES) == sorted([*CHECK_INS, *STREAMS])


@pytest.mark.parametrize("line", CHECK_INS)
async def test_a_job_checks_in_with_a_documented_line(line: str, nats_server: Any) -> None:
    url = await provisioned(nats_server)
    promise = Expectation(every=timedelta(days=1), grace=timedelta(minutes=30), token=Secret("env:REPORT_TOKEN", TOKEN))
    book = book_with(**{JOB: promise})
    async with prober(url, "probe-1", book):
        printed = await run(line, url)
        await eventually(lambda: last(book))

    assert "Nats-Service-Error" not in printed


def last(book: HeartbeatBook) -> datetime | None:
    return book.last(JOB)


@pytest.mark.parametrize("line", STREAMS)
async def test_the_documented_stream_of_a_probe_keeps_little(line: str, nats_server: Any) -> None:
    await run(line, nats_server.url)

    client = await nats.connect(nats_server.url)
    kept = (await client.jetstream().stream_info("PROBE")).config
    await client.close()

    assert (kept.subjects, kept.max_msgs, kept.discard) == (["probe.stored"], 10, DiscardPolicy.OLD)
