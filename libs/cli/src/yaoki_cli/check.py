"""`yaoki check`: has the health probe look at every target once, and shows what it saw."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Final

import msgspec
from rich import box
from rich.table import Table
from rich.text import Text
from yaoki.checkup import CheckedTarget, CheckExit, Checkup
from yaoki.errors import FatalError
from yaoki.events.probe import ProbeStatus

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

_STYLES: Final = {
    ProbeStatus.HEALTHY: "green",
    ProbeStatus.DEGRADED: "yellow",
    ProbeStatus.UNHEALTHY: "bold red",
    ProbeStatus.UNKNOWN: "bold magenta",
}
_SAID_NOTHING: Final = "the health probe did not finish; what it printed above says why"


def look(config: Path, agent: str | None) -> bytes | CheckExit:
    """What the health probe found, as JSON; or how it ended when it could not begin. It prints to stderr itself.

    Raises:
        FatalError: It broke off.
    """
    argv = [sys.executable, "-m", "health_probe", "--role", "check", "--config", str(config)]
    argv += [] if agent is None else ["--agent", agent]
    done = subprocess.run(argv, stdout=subprocess.PIPE, check=False)  # noqa: S603 - our own interpreter and module
    if done.stdout:
        return done.stdout
    if done.returncode == CheckExit.CONFIGURATION:
        return CheckExit.CONFIGURATION
    raise FatalError(_SAID_NOTHING)


def decoded(found: bytes) -> Checkup:
    """What the health probe found.

    Raises:
        FatalError: It is no such thing.
    """
    try:
        return msgspec.json.decode(found, type=Checkup)
    except msgspec.MsgspecError as exc:
        raise FatalError(_SAID_NOTHING) from exc


def show(checkup: Checkup, console: Console) -> None:
    """A table on a terminal; elsewhere one line for each target, with tabs, and a sentence at the end."""
    if console.is_terminal:
        console.print(_table(checkup))
    else:
        for row in checkup.targets:
            console.file.write("\t".join(_cells(row)) + "\n")  # rich would make blanks of the tabs
    console.print(summary(checkup), markup=False, soft_wrap=True)


def summary(checkup: Checkup) -> str:
    """How many targets are in which state, and what the first thing to do is."""
    states = [checked.status for checked in checkup.targets]
    counts = ", ".join(f"{states.count(status)} {status.value}" for status in _STYLES if status in states)
    match checkup.exit_status():
        case CheckExit.WELL if not states:
            return "no targets are configured; docs/probes.md shows a block to copy for every kind"
        case CheckExit.WELL:
            return f"{counts}: every target works"
        case CheckExit.UNHEALTHY:
            return f"{counts}: begin with what is unhealthy"
        case CheckExit.UNKNOWN:
            return f"{counts}: unknown is not healthy"
        case CheckExit.CONFIGURATION:
            return f"{counts}; secrets are missing for {', '.join(checkup.missing_secrets)}"


def _table(checkup: Checkup) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("target", "kind", "status"):
        table.add_column(heading, no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("what is wrong, and what to do", overflow="fold")
    for checked in checkup.targets:
        target, kind, status, time, wrong, todo = _cells(checked)
        words = Text("\n".join(filter(None, (wrong, todo and f"-> {todo}"))))
        table.add_row(Text(target), kind, Text(status, style=_STYLES[checked.status]), time, words)
    return table


def _cells(checked: CheckedTarget) -> tuple[str, ...]:
    """Target, kind, status, response time, what is wrong, what to do."""
    kind = checked.kind if checked.scope == "internal" else f"{checked.kind}, {checked.scope}"
    time = "-" if checked.response_ms is None else f"{checked.response_ms:.0f} ms"
    stopped = f"{checked.phase}: " if checked.wrong and checked.phase not in ("", "verdict") else ""
    return checked.target, kind, checked.status.value, time, f"{stopped}{checked.wrong}", checked.next
