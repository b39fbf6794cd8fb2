"""Units are restarted by a real systemd: a user manager in a mount namespace of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from health_probe.agent.hands.systemd import RestartUnit
from yaoki.config import Repairs
from yaoki.plans import OutcomeStatus
from yaoki.testing import eventually

from .orders import Agent, succeeded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("manager")]

# systemd starts as a user manager only where it believes that the machine was booted with it.
_START = """
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system
exec /lib/systemd/systemd --user --log-target=console --log-level=warning
"""
_UNIT = "[Service]\nExecStart=/bin/sleep 600\n"
_ONE_SHOT_FAILURE = "[Service]\nType=notify\nExecStart=/bin/false\n"


@pytest.fixture
async def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """A running user manager with two units."""
    runtime, home = tmp_path / "runtime", tmp_path / "home"
    units = home / ".config/systemd/user"
    units.mkdir(parents=True)
    runtime.mkdir(mode=0o700)
    (units / "orders.service").write_text(_UNIT, encoding="utf-8")
    (units / "broken.service").write_text(_ONE_SHOT_FAILURE, encoding="utf-8")
    environment = {**os.environ, "HOME": str(home), "XDG_RUNTIME_DIR": str(runtime)}
    environment.pop("DBUS_SESSION_BUS_ADDRESS", None)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    with (tmp_path / "systemd.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: ASYNC220,S603 - a server of this test, started before anything waits
            [shutil.which("unshare") or "unshare", "--mount", "sh", "-c", _START],
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        await eventually(lambda: systemctl("list-units").returncode == 0, within=20.0)
        yield
    finally:
        systemctl("exit")
        process.wait(30)


def systemctl(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - arguments of this file
        ["/usr/bin/systemctl", "--user", *arguments], capture_output=True, text=True, check=False
    )


def main_pid(unit: str) -> int:
    return int(systemctl("show", "--property=MainPID", "--value", unit).stdout or 0)


async def test_a_unit_is_restarted_and_a_repeat_after_a_crash_leaves_it_alone() -> None:
    """The dry run says what it would do; the same order in another process of the agent finds it done."""
    assert systemctl("start", "orders.service").returncode == 0
    old = main_pid("orders.service")
    agent = Agent(RestartUnit(Repairs(units=("orders.service",), user_units=True)))

    seen = await agent.look(unit="orders.service")
    assert f"main process {old}" in seen["would"]
    assert main_pid("orders.service") == old
    first = succeeded(await agent.perform(unit="orders.service", before=seen["before"]))
    new = main_pid("orders.service")
    again = succeeded(await agent.reborn().perform(unit="orders.service", before=seen["before"]))

    assert first["pid"] == new
    assert new not in {0, old}
    assert again["already"] is True
    assert main_pid("orders.service") == new


async def test_a_unit_that_does_not_come_up_has_failed() -> None:
    """What systemd says about it is in the outcome."""
    agent = Agent(RestartUnit(Repairs(units=("broken.service",), user_units=True)))

    outcome = await agent.perform(unit="broken.service")

    assert outcome.status is OutcomeStatus.FAILED
    assert "broken.service was not restarted" in outcome.error


async def test_other_units_and_units_that_are_not_there_are_left_alone() -> None:
    """Not allowed is refused; allowed and missing is skipped."""
    agent = Agent(RestartUnit(Repairs(units=("absent.service",), user_units=True)))

    refused = await agent.perform(unit="orders.service")
    skipped = await agent.perform(unit="absent.service")
    misspelt = await agent.perform(unit="absent.service", force=True)

    assert refused.status is OutcomeStatus.REFUSED
    assert "repairs.units allows absent.service" in refused.error
    assert skipped.status is OutcomeStatus.SKIPPED
    assert misspelt.status is OutcomeStatus.REFUSED
    assert "force" in misspelt.error
