"""Lines of our guides, run as they stand with the real `nats` command against a system that is up."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import msgspec
from yaoki.testing import patient

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from yaoki_cli.local.system import LocalSystem

DOCS: Final = Path(__file__).parents[3] / "docs"
_BLOCK: Final = re.compile(r"^( *)```sh\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_ASSIGNMENT: Final = re.compile(r"[a-z]+=")
# These run until they are stopped; what matters is that they begin and show something.
_STREAMING: Final = ("nats sub", "nats kv watch", "nats stream view")
_SHOWN_S: Final = 6.0
_GOES_ON_S: Final = 1.0
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


def run(
    system: LocalSystem, line: Line | str, cwd: Path | None = None, until: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a line in a shell with the system's address.

    A streaming one is stopped a moment after it has shown something, and all words of `until`, or after a while.
    """
    line = Line(command=line) if isinstance(line, str) else line
    answer_s = f"{patient(_ANSWERED_S):g}s"
    environment = {**os.environ, "NATS_URL": system.stack().nats.urls[0], "NATS_TIMEOUT": answer_s}
    limit = f"{patient(_SHOWN_S):g}s" if line.streaming else answer_s
    script = "\n".join(("set -o pipefail", *line.before, f"timeout -s INT {limit} {line.command}"))
    with subprocess.Popen(  # noqa: S603 - our own guide
        ["bash", "-c", script],  # noqa: S607 - whichever there is
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        cwd=cwd,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        seen = _read_until(process.stdout, until) if line.streaming else process.stdout.read()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GOES_ON_S if line.streaming else None)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        seen += process.stdout.read()
    return subprocess.CompletedProcess(script, process.returncode, seen, "")


def _read_until(output: IO[str], words: Sequence[str]) -> str:
    """The first line and on until all of `words` were seen; everything when the output ends before."""
    seen = ""
    for printed in output:
        seen += printed
        if all(word in seen for word in words):
            break
    return seen


def answer(finished: subprocess.CompletedProcess[str]) -> dict[str, object]:
    """The JSON that a request printed."""
    found = re.search(r"^\{.*\}$", finished.stdout, re.MULTILINE)
    assert found, f"no JSON in the answer:\n{finished.stdout}{finished.stderr}"
    parsed: dict[str, object] = json.loads(found.group())
    return parsed


def shown(finished: subprocess.CompletedProcess[str]) -> str:
    """Whatever it printed."""
    return finished.stdout + finished.stderr
