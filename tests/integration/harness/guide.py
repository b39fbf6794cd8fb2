"""Lines of our guides, run as they stand with the real `nats` command against a system that is up."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from yaoki_cli.local.system import LocalSystem

DOCS: Final = Path(__file__).parents[3] / "docs"
_BLOCK: Final = re.compile(r"^( *)```sh\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_ASSIGNMENT: Final = re.compile(r"[a-z]+=")
# These run until they are stopped; what matters is that they begin and show something.
_STREAMING: Final = ("nats sub", "nats kv watch", "nats stream view")
_SHOWN_S: Final = 6.0
_ANSWERED_S: Final = 20.0


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line to copy.

    Attributes:
        command: Begins with `nats`.
        before: Assignments of variables above it in its block.
    """

    command: str
    before: tuple[str, ...] = ()

    @property
    def streaming(self) -> bool:
        """It goes on until it is stopped."""
        return self.command.startswith(_STREAMING)

    @property
    def complete(self) -> bool:
        """Nothing has to be filled in."""
        return "<" not in self.command


def documented_lines(page: str) -> list[Line]:
    """Every line of a page in `docs` that begins with `nats`."""
    return list(_lines((DOCS / page).read_text(encoding="utf-8")))


def _lines(text: str) -> Iterator[Line]:
    for _, block in _BLOCK.findall(text):
        before: tuple[str, ...] = ()
        for line in map(str.strip, block.splitlines()):
            if _ASSIGNMENT.match(line):
                before = (*before, line)
            elif line.startswith("nats "):
                yield Line(command=line, before=before)


def run(system: LocalSystem, line: Line | str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a line in a shell with the system's address; a streaming one is stopped after a while."""
    line = Line(command=line) if isinstance(line, str) else line
    environment = {**os.environ, "NATS_URL": system.stack().nats.urls[0]}
    limit = _SHOWN_S if line.streaming else _ANSWERED_S
    script = "\n".join(("set -o pipefail", *line.before, f"timeout -s INT {limit} {line.command}"))
    return subprocess.run(  # noqa: S603 - our own guide
        ["bash", "-c", script],  # noqa: S607 - whichever there is
        capture_output=True,
        text=True,
        env=environment,
        cwd=cwd,
        check=False,
    )


def answer(finished: subprocess.CompletedProcess[str]) -> dict[str, object]:
    """The JSON that a request printed."""
    found = re.search(r"^\{.*\}$", finished.stdout, re.MULTILINE)
    assert found, f"no JSON in the answer:\n{finished.stdout}{finished.stderr}"
    parsed: dict[str, object] = json.loads(found.group())
    return parsed


def shown(finished: subprocess.CompletedProcess[str]) -> str:
    """Whatever it printed."""
    return finished.stdout + finished.stderr
