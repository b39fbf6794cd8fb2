"""The kind `process`: real processes, and what their coming and going means."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from health_probe.probes.process import (
    History,
    ProcessCheck,
    ProcessTarget,
    Seen,
    by_name,
    by_pattern,
    by_pidfile,
    remember,
)
from hypothesis import given
from hypothesis import strategies as st
from yaoki.clock import SystemClock
from yaoki.events.probe import ErrorClass, ProbeStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SLEEPER = "import time; time.sleep(600)"


@pytest.fixture
def start() -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Starts a process with a mark among its arguments; it is gone after the test."""
    processes: list[subprocess.Popen[bytes]] = []

    def start_one(mark: str) -> subprocess.Popen[bytes]:
        processes.append(subprocess.Popen([sys.executable, "-S", "-c", SLEEPER, mark]))  # noqa: S603 - our own
        return processes[-1]

    yield start_one
    for process in processes:
        process.kill()
        process.wait()


def matching(mark: str, **expected: Any) -> ProcessCheck:
    target = ProcessTarget(command_pattern=mark, **expected)
    return ProcessCheck(find=lambda: by_pattern(mark), target=target, clock=SystemClock())


async def test_processes_are_counted(run: Any, start: Any, unique_prefix: str) -> None:
    start(unique_prefix)
    start(unique_prefix)

    enough = await run(matching(unique_prefix, min_count=2, max_count=2))
    few = await run(matching(unique_prefix, min_count=3))
    many = await run(matching(unique_prefix, max_count=1))

    assert (enough.status, enough.facts["count"]) == (ProbeStatus.HEALTHY, 2)
    assert (few.error_class, few.detail) == (ErrorClass.REFUSED, "2 processes run, at least 3 expected")
    assert (many.error_class, many.detail) == (ErrorClass.CAPACITY, "2 processes run, at most 1 expected")


async def test_a_dead_process_is_noticed_before_it_is_reaped(run: Any, start: Any, unique_prefix: str) -> None:
    process = start(unique_prefix)
    check = matching(unique_prefix)
    assert (await run(check)).status is ProbeStatus.HEALTHY

    process.kill()
    process.wait()

    assert (await run(check)).error_class is ErrorClass.REFUSED


async def test_a_loop_of_starts_is_a_failure_although_something_always_runs(
    run: Any, start: Any, unique_prefix: str
) -> None:
    check = matching(unique_prefix, max_restarts=2)
    results = []
    for _ in range(4):
        process = start(unique_prefix)
        results.append(await run(check))
        process.kill()
        process.wait()

    assert [result.status for result in results[:3]] == [ProbeStatus.HEALTHY] * 3
    assert results[3].status is ProbeStatus.UNHEALTHY
    assert results[3].detail == "3 starts within 5m, at most 2 expected"


async def test_a_young_process_is_degraded(run: Any, start: Any, unique_prefix: str) -> None:
    start(unique_prefix)

    result = await run(matching(unique_prefix, min_age=3600.0))

    assert result.status is ProbeStatus.DEGRADED
    assert "less than 3600 s" in result.detail


async def test_a_pidfile_names_a_process_or_nobody(run: Any, start: Any, tmp_path: Path, unique_prefix: str) -> None:
    process = start(unique_prefix)
    pidfile = tmp_path / "pid"
    target = ProcessTarget(pidfile=str(pidfile))
    check = ProcessCheck(find=lambda: by_pidfile(str(pidfile)), target=target, clock=SystemClock())

    missing = await run(check)
    pidfile.write_text(f"{process.pid}\n/data\n")
    there = await run(check)
    process.kill()
    process.wait()
    left_over = await run(check)
    pidfile.write_text("not a number")
    nonsense = await run(check)

    assert (missing.error_class, left_over.error_class) == (ErrorClass.REFUSED, ErrorClass.REFUSED)
    assert there.status is ProbeStatus.HEALTHY
    assert nonsense.error_class is ErrorClass.PROTOCOL


def test_a_process_is_found_by_the_name_of_its_program(start: Any, unique_prefix: str) -> None:
    process = start(unique_prefix)

    assert process.pid in {seen.pid for seen in by_name(Path(sys.executable).resolve().name)} | {
        seen.pid for seen in by_name(Path(sys.executable).name)
    }


looks = st.lists(st.frozensets(st.builds(Seen, st.integers(1, 5), st.integers(0, 3).map(float))), max_size=12)


@given(looks)
def test_every_process_that_was_not_there_before_is_one_start(seen: list[frozenset[Seen]]) -> None:
    """The first look finds what had been running; the number alone, given away again, is another process."""
    history = History()
    for number, look in enumerate(seen):
        history = remember(history, look, now=float(number), window_s=100.0)

    expected = sum(len(after - before) for before, after in pairwise(seen))
    assert len(history.restarts) == expected


def test_starts_are_forgotten_after_their_window() -> None:
    history = remember(History(seen=frozenset()), frozenset({Seen(1, 0.0)}), now=0.0, window_s=10.0)

    assert len(history.restarts) == 1
    assert remember(history, frozenset({Seen(1, 0.0)}), now=11.0, window_s=10.0).restarts == ()
