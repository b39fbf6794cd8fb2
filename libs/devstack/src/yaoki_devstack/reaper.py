"""The process that cleans up after a caller that was killed: `python -m yaoki_devstack.reaper <owner>`.

Reads `{"protect": directory}` and `{"release": directory}` lines from its standard input. At end of file it
kills every process that carries the owner's mark or works under a protected directory, and removes these
directories.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from yaoki_devstack.cleanup import remove_directory
from yaoki_devstack.proctree import kill_until_none, with_environment, working_under

if TYPE_CHECKING:
    from collections.abc import Iterable

    import psutil

OWNER_VARIABLE = "YAOKI_DEVSTACK_OWNER"
KILL_SECONDS = 20.0


def follow(lines: Iterable[str]) -> set[Path]:
    """Fold the caller's lines into the set of directories that are protected at their end."""
    protected: set[Path] = set()
    for line in lines:
        order = json.loads(line)
        if "protect" in order:
            protected.add(Path(order["protect"]))
        else:
            protected.discard(Path(order["release"]))
    return protected


def reap(owner: str, directories: set[Path]) -> None:
    """Kill what belongs to `owner` or works under `directories`, then remove the directories."""

    def find() -> list[psutil.Process]:
        found = with_environment(OWNER_VARIABLE, owner)
        for directory in directories:
            found.extend(working_under(directory))
        return found

    kill_until_none(find, within=KILL_SECONDS)
    for directory in directories:
        remove_directory(directory)


def main() -> None:
    """Detach from the caller, follow its lines until it ends, then reap."""
    if os.fork():
        # The caller waits for this first process only; the second has no parent that could wait for it.
        os._exit(0)
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(signum, signal.SIG_IGN)
    reap(sys.argv[1], follow(sys.stdin))


if __name__ == "__main__":
    main()
