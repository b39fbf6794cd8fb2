"""The kind `exec`: what a command may say, and what it may not do to its prober."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from health_probe.probes.command import ExecCheck
from yaoki.events.probe import ErrorClass, ProbeStatus
from yaoki.testing import eventually

if TYPE_CHECKING:
    from pathlib import Path

SHELL = "/bin/sh"


def check(script: str, *arguments: str, environment: dict[str, str] | None = None) -> ExecCheck:
    """Runs `script` by an explicit shell: the probe itself uses none."""
    return ExecCheck(command=SHELL, arguments=("-c", script, "probe", *arguments), environment=environment or {})


@pytest.mark.parametrize(
    ("script", "status", "error_class"),
    [
        ("echo fine", ProbeStatus.HEALTHY, None),
        ("echo slow; exit 1", ProbeStatus.DEGRADED, ErrorClass.PROTOCOL),
        ("echo broken >&2; exit 2", ProbeStatus.UNHEALTHY, ErrorClass.PROTOCOL),
        ("exit 3", ProbeStatus.UNKNOWN, ErrorClass.LOCAL),
        ("exit 127", ProbeStatus.UNKNOWN, ErrorClass.LOCAL),
        ("kill -SEGV $$", ProbeStatus.UNKNOWN, ErrorClass.LOCAL),
    ],
)
async def test_the_exit_status_decides(
    script: str, status: ProbeStatus, error_class: ErrorClass | None, run: Any
) -> None:
    result = await run(check(script))

    assert (result.status, result.error_class) == (status, error_class), result


async def test_the_first_line_of_both_outputs_is_told(run: Any) -> None:
    result = await run(check("echo '42 rows late' >&2; echo more; exit 2"))

    assert result.detail == "42 rows late"
    assert result.facts == {"exit_status": 2, "output": "42 rows late"}


async def test_no_shell_reads_the_arguments(run: Any) -> None:
    """A semicolon in an argument is a semicolon."""
    arguments = ("; id", "$(id)", "`id`", "$HOME", "*", "a  b")

    result = await run(ExecCheck(command="/bin/echo", arguments=arguments, environment={}))

    assert result.facts["output"] == "; id $(id) `id` $HOME * a  b"


async def test_the_environment_has_nothing_of_the_prober_in_it(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YAOKI_SECRET", "hunter2")

    result = await run(
        check("env | grep -v -e PWD -e SHLVL -e _= | sort | tr '\\n' ' '", environment={"WHERE": "here"})
    )

    assert result.facts["output"] == "LANG=C.UTF-8 PATH=/usr/local/bin:/usr/bin:/bin WHERE=here"


async def test_a_missing_command_is_the_probers_own_fault(run: Any) -> None:
    result = await run(ExecCheck(command="/no/such/command", arguments=(), environment={}))

    assert (result.status, result.error_class) == (ProbeStatus.UNKNOWN, ErrorClass.LOCAL)
    assert "/no/such/command cannot be started: No such file or directory" in result.detail


async def test_a_hanging_command_dies_with_all_its_children(run_out: Any, tmp_path: Path) -> None:
    """Also those that ignore SIGTERM and hold the output open."""
    pids = tmp_path / "pids"
    script = "trap '' TERM; for i in 1 2 3; do sleep 600 & echo $! >> $1; done; echo $$ >> $1; wait"
    result = await run_out(check(script, str(pids)), lambda _: len(written(pids)) >= 4)

    assert (result.status, result.error_class, result.phase) == (ProbeStatus.UNHEALTHY, ErrorClass.TIMEOUT, "run")
    numbers = written(pids)
    assert len(numbers) >= 4
    await eventually(lambda: not any(_alive(number) for number in numbers))


async def test_a_command_that_leaves_a_child_behind_is_not_waited_for(run: Any, tmp_path: Path) -> None:
    """The child holds the pipe for ten minutes; the command itself has ended."""
    pid = tmp_path / "pid"
    result = await run(check("sleep 600 & echo $! > $1; echo done", str(pid)))

    assert (result.status, result.facts["output"]) == (ProbeStatus.HEALTHY, "done")
    await eventually(lambda: not _alive(int(pid.read_text())))


async def test_a_flood_of_output_is_cut_off(run: Any) -> None:
    before = psutil.Process().memory_info().rss
    flooding = ExecCheck(command=sys.executable, arguments=("-c", "while True: print('x' * 65536)"), environment={})

    result = await run(flooding)

    assert (result.status, result.error_class) == (ProbeStatus.UNHEALTHY, ErrorClass.PROTOCOL), result
    assert result.detail == "it wrote more than 65536 bytes and was killed"
    assert psutil.Process().memory_info().rss - before < 20 << 20


async def test_a_fork_bomb_dies_at_the_deadline(run_out: Any, tmp_path: Path) -> None:
    """Bounded here, because the machine is shared: every process starts the next and stays."""
    pids = tmp_path / "pids"
    script = 'echo $$ >> $1; n=$2; [ $n -gt 0 ] && "$0" -c "$3" "$0" "$1" $((n-1)) "$3" & sleep 600'
    bomb = ExecCheck(command=SHELL, arguments=("-c", script, SHELL, str(pids), "25", script), environment={})

    result = await run_out(bomb, lambda _: len(written(pids)) > 5, timeout_s=1.0)

    numbers = written(pids)
    assert result.error_class is ErrorClass.TIMEOUT
    assert len(numbers) > 5
    await eventually(lambda: not any(_alive(number) for number in numbers))


async def test_a_command_that_cannot_be_killed_gets_no_company(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that hangs in the kernel on a lost file system; here the kernel refuses the signal."""
    real, hanging = os.killpg, check("exec sleep 600")
    monkeypatch.setattr(os, "killpg", lambda _group, _signal: None)
    await run(hanging, timeout_s=0.2)
    second = await run(hanging, timeout_s=5.0)

    assert second.error_class is ErrorClass.TIMEOUT
    assert "an earlier attempt still hangs in the kernel" in second.detail
    number = int(second.detail.rpartition(" ")[2].rstrip(")"))
    real(number, signal.SIGKILL)
    monkeypatch.setattr(os, "killpg", real)
    await eventually(lambda: not _alive(number))
    assert (await run(check("exit 0"))).status is ProbeStatus.HEALTHY
    third = await run(hanging, timeout_s=0.2)
    assert third.detail.startswith("no answer in phase run")


def written(pids: Path) -> list[int]:
    """What the processes have written of themselves, in all attempts."""
    return [int(line) for line in pids.read_text().split()] if pids.exists() else []


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
