"""The caller's side of the reaper: whatever happens to this process, its servers do not outlive it.

One reaper process for each calling process holds the read end of a pipe. When the caller ends, in whatever
way, the pipe closes and the reaper kills what the caller started and removes its temporary directories.
PR_SET_PDEATHSIG would not do: it follows the *thread* that forked, is cleared by a change of user, and does
not reach the backends of PostgreSQL.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import uuid
from typing import TYPE_CHECKING

from yaoki_devstack.reaper import OWNER_VARIABLE

if TYPE_CHECKING:
    from pathlib import Path


class Guard:
    """Tells the reaper of this process what belongs to it. Thread-safe; starts the reaper on first use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pid = 0
        self._owner = ""
        self._pipe: int | None = None

    def owner_environment(self) -> dict[str, str]:
        """Return the variable that marks a child process, and all it starts, as ours."""
        with self._lock:
            self._ensure_reaper()
            return {OWNER_VARIABLE: self._owner}

    def protect(self, directory: Path) -> None:
        """Have the servers in `directory` killed and `directory` removed when this process ends."""
        self._tell("protect", directory)

    def release(self, directory: Path) -> None:
        """Forget `directory`: it was removed, or shall survive this process."""
        self._tell("release", directory)

    def _tell(self, verb: str, directory: Path) -> None:
        with self._lock:
            pipe = self._ensure_reaper()
            os.write(pipe, json.dumps({verb: str(directory)}).encode() + b"\n")

    def _ensure_reaper(self) -> int:
        # After a fork the child needs a reaper of its own: the parent's pipe must not be kept open by it.
        if self._pipe is not None and self._pid == os.getpid():
            return self._pipe
        if self._pipe is not None:
            with contextlib.suppress(OSError):
                os.close(self._pipe)
        self._owner = uuid.uuid4().hex
        self._pipe = _start_reaper(self._owner)
        self._pid = os.getpid()
        return self._pipe


def _start_reaper(owner: str) -> int:
    # The reaper must not carry the mark of an outer owner, or that owner's reaper would end it too early.
    environment = {name: value for name, value in os.environ.items() if name != OWNER_VARIABLE}
    read_end, write_end = os.pipe()
    try:
        launcher = subprocess.run(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-I", "-m", "yaoki_devstack.reaper", owner],
            stdin=read_end,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd="/",
            start_new_session=True,
            check=False,
        )
    finally:
        os.close(read_end)
    if launcher.returncode != 0:
        os.close(write_end)
        raise RuntimeError(
            f"the reaper did not start: '{sys.executable} -m yaoki_devstack.reaper' ended with "
            f"{launcher.returncode}; is yaoki-devstack installed for this interpreter?"
        )
    return write_end


guard = Guard()
"""The guard of this process."""
