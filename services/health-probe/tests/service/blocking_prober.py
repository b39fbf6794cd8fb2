"""The prober with one probe kind more, which blocks its event loop as only a defect could."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from health_probe import probes
from health_probe.attempt import Finding
from health_probe.kinds import ProbeKind
from health_probe.targets import Component
from yaoki.config import Extension, Target
from yaoki.config.forms import AbsolutePath  # noqa: TC002 - msgspec reads the annotation at run time
from yaoki.events.probe import FailureType

if TYPE_CHECKING:
    from health_probe.attempt import Phases


class BlockingTarget(Target, frozen=True, kw_only=True, tag="blocking"):
    """Well; but while `pipe` is there a probe stops the whole process until the other end of it is closed."""

    pipe: AbsolutePath


class BlockingCheck:
    """See `Check`."""

    def __init__(self, pipe: Path) -> None:
        self._pipe = pipe

    async def check(self, _phases: Phases) -> Finding:
        """See `Check.check`."""
        if self._pipe.exists():
            self._pipe.read_bytes()
        return Finding()


BLOCKING = ProbeKind(
    target=BlockingTarget,
    component=Component.SERVICES,
    build=lambda _name, target, _surroundings: BlockingCheck(Path(target.pipe)),
    failure_type=lambda _target: FailureType.ERROR_RATE,
)

if __name__ == "__main__":
    # As a row in that file would: before anybody reads the table.
    probes.KINDS = (*probes.KINDS, BLOCKING)  # type: ignore[misc]  # it is final
    probes.EXTENSION = Extension(target_kinds=(*probes.EXTENSION.target_kinds, BlockingTarget))  # type: ignore[misc]
    from health_probe.__main__ import main

    sys.exit(main())
