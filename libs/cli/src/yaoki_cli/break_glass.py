"""`yaoki restore`: restores from a repository and an age identity alone, by the backup service's own command."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from yaoki.errors import FatalError

if TYPE_CHECKING:
    from collections.abc import Sequence

_MODULE: Final = "backup.break_glass"


def break_glass(arguments: Sequence[str]) -> int:
    """Run the command with `arguments`; it talks to the person itself. Returns how it ended.

    Raises:
        FatalError: The backup service is not installed here.
    """
    if importlib.util.find_spec(_MODULE.partition(".")[0]) is None:
        raise FatalError("the backup service is not installed in this environment: install yaoki-backup")
    # Secrets are in the environment and in files; nothing of them stands in these arguments.
    return subprocess.run([sys.executable, "-m", _MODULE, *arguments], check=False).returncode  # noqa: S603 - our own interpreter and module
