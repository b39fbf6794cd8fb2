"""`python -m backup --config yaoki.yaml [--instance backup-1]`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys

from yaoki.config import Config, load_or_exit
from yaoki.errors import FatalError, RejectedError
from yaoki.subjects import token

from backup.allocation import return_large_blocks
from backup.main import run_backup

_NEEDS = ("nats.*", "backup.*")
_EXIT_CONFIGURATION = 2
_EXIT_FATAL = 70


def main() -> None:
    """Run until SIGTERM or SIGINT; exit 0 then, 2 for a wrong configuration, 70 when the service cannot go on."""
    parser = argparse.ArgumentParser(prog="backup", description="Takes backups, proves and restores them.")
    parser.add_argument("--config", default="yaoki.yaml", help="path of yaoki.yaml (default: %(default)s)")
    parser.add_argument("--instance", default="backup-1", help="name of this process, unique among instances")
    arguments = parser.parse_args()
    try:
        instance = token(arguments.instance, "instance")
    except RejectedError as error:
        sys.stderr.write(f"{error.message}\n")
        sys.exit(_EXIT_CONFIGURATION)
    return_large_blocks()
    config = load_or_exit(arguments.config, needs=_NEEDS)
    try:
        # Not uvloop: it cannot start a child as another user, and the work is in threads.
        asyncio.run(_until_signal(config, instance))
    except FatalError as error:
        sys.stderr.write(f"backup cannot go on: {error.message}\n")
        sys.exit(_EXIT_FATAL)


async def _until_signal(config: Config, instance: str) -> None:
    work = asyncio.create_task(run_backup(config, instance), name="backup")
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, work.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await work


if __name__ == "__main__":
    main()
