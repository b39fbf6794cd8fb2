"""What this data directory has been through, on disk: whether it may be started as a standby as it is.

A directory that was written as a primary may hold commits that the present primary never saw. Started as a standby
without `pg_rewind` it would follow on top of them; so it is marked before the first write, and the mark goes away only
when a rewind or a clone has succeeded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from health_probe.agent.durable import read_state, write_state

if TYPE_CHECKING:
    from pathlib import Path


class Lineage:
    """The mark of one data directory.

    Args:
        state_file: Where it lies; not inside the data directory, which a rewind overwrites.
        data_directory: Without a mark, a directory that has no `standby.signal` counts as one that was a primary.
    """

    def __init__(self, state_file: Path, data_directory: Path) -> None:
        self._state_file = state_file
        self._data_directory = data_directory
        try:
            state = read_state(state_file)
        except ValueError:
            state = {"wrote": True, "damaged": True}
        if state is None:
            state = {"wrote": not (data_directory / "standby.signal").exists(), "damaged": False}
        self._wrote = bool(state["wrote"])
        self._damaged = bool(state["damaged"])

    @property
    def needs_rewind(self) -> bool:
        """It was a primary since it last followed one."""
        return self._wrote

    @property
    def needs_clone(self) -> bool:
        """It is missing, or a rewind of it was begun and not finished: its content means nothing."""
        return self._damaged or not (self._data_directory / "PG_VERSION").exists()

    def before_writing(self) -> None:
        """The server is about to become writable."""
        self._store(wrote=True, damaged=self._damaged)

    def before_rewind(self) -> None:
        """`pg_rewind` is about to change the directory."""
        self._store(wrote=True, damaged=True)

    def clean(self) -> None:
        """It is a consistent past of the primary's."""
        self._store(wrote=False, damaged=False)

    def _store(self, *, wrote: bool, damaged: bool) -> None:
        if (wrote, damaged) != (self._wrote, self._damaged) or not self._state_file.exists():
            write_state(self._state_file, {"wrote": wrote, "damaged": damaged})
            self._wrote, self._damaged = wrote, damaged
