"""Commands run without a shell, as they stand in the configuration."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from health_probe.agent.hands.commands import RunCommand
from yaoki.config import CommandSettings, Repairs
from yaoki.plans import Effect, OutcomeStatus

from .orders import Agent, succeeded

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def agent_of(*run: str, timeout: float = 20.0) -> Agent:
    return Agent(RunCommand(Repairs(commands={"repair": CommandSettings(run=run, timeout=timeout)})))


async def test_arguments_are_not_seen_by_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    """And neither the agent's environment nor its secrets by the command."""
    monkeypatch.setenv("YAOKI_DB_PASSWORD", "hunter2")

    plain = succeeded(await agent_of("/bin/echo", "$HOME;", "`id`", "*").perform(command="repair"))
    environment = succeeded(await agent_of("/usr/bin/env").perform(command="repair"))

    assert plain["output"] == "$HOME; `id` *\n"
    assert "hunter2" not in environment["output"]
    assert "YAOKI_ORDER_ID=" in environment["output"]


async def test_a_dry_run_says_what_would_run(tmp_path: Path) -> None:
    """And runs nothing."""
    made = tmp_path / "made"
    seen = await agent_of("/usr/bin/touch", str(made)).look(command="repair")

    assert seen["would"] == f"run /usr/bin/touch {made}, for at most 20 s"
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - pathlib in async code is refused, too


async def test_failures_are_told_apart() -> None:
    """A status other than 0, too long, not there, not allowed."""
    status = await agent_of("/bin/ls", "/nowhere").perform(command="repair")
    late = await agent_of("/bin/sleep", "60", timeout=0.2).perform(command="repair")
    missing = await agent_of("/nowhere/at/all").perform(command="repair")
    refused = await agent_of("/bin/true").perform(command="other")

    assert [one.status for one in (status, late, missing)] == [OutcomeStatus.FAILED] * 3
    assert "ls ended with 2" in status.error
    assert "was not finished after" in late.error
    assert "No such file" in missing.error
    assert refused.status is OutcomeStatus.REFUSED


async def test_nobody_can_say_whether_a_command_ran_that_may_run_only_once() -> None:
    """Its agent died in the middle: the outcome is unknown, so that the run asks a person."""
    agent = agent_of("/bin/true")
    order = agent.order({"command": "repair"}, effect=Effect.ONCE)
    await agent.worker._table.begin(order)  # noqa: SLF001 - as far as the dead process came

    outcome = await agent.reborn().carry_out(order)

    assert outcome.status is OutcomeStatus.UNKNOWN
