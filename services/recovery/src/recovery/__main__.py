"""`python -m recovery --config yaoki.yaml [--instance recovery-1]`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys

import uvloop
from yaoki.config import Config, load_or_exit
from yaoki.errors import FatalError, RejectedError
from yaoki.subjects import token

from recovery.main import run_recovery

NEEDS = ("nats.*", "postgres_clusters.*.admin.*", "redis_groups.*", "recovery.*")
_EXIT_CONFIGURATION = 2
_EXIT_FATAL = 70


def main() -> None:
    """Run until SIGTERM or SIGINT; exit 0 then, 2 for a wrong configuration, 70 when the service cannot go on."""
    parser = argparse.ArgumentParser(prog="recovery", description="Repairs what the health probe finds broken.")
    parser.add_argument("--config", default="yaoki.yaml", help="path of yaoki.yaml (default: %(default)s)")
    parser.add_argument("--instance", default="recovery-1", help="name of this process, unique among instances")
    arguments = parser.parse_args()
    try:
        instance = token(arguments.instance, "instance")
    except RejectedError as error:
        sys.stderr.write(f"{error.message}\n")
        sys.exit(_EXIT_CONFIGURATION)
    config = load_or_exit(arguments.config, needs=NEEDS)
    try:
        uvloop.run(_until_signal(config, instance))
    except FatalError as error:
        sys.stderr.write(f"recovery cannot go on: {error.message}\n")
        sys.exit(_EXIT_FATAL)


async def _until_signal(config: Config, instance: str) -> None:
    work = asyncio.create_task(run_recovery(config, instance), name="recovery")
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, work.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await work


if __name__ == "__main__":
    main()
