"""`python -m rescue`: ends with 0 only if everything was repaired and nothing acknowledged was lost."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import sys
import time
from dataclasses import replace
from pathlib import Path

import structlog
from yaoki.errors import YaokiError
from yaoki_cli.local.system import SPEC, LocalSystem

from rescue.screen import Screen
from rescue.story import Story

_INTERRUPTED = 130
# Nothing here is backed up, and S3 takes the longest to start.
WITHOUT_S3 = replace(SPEC, s3=False, buckets=())


async def demonstrate(directory: Path, screen: Screen) -> int:
    """Set up, tell the story, clean up; the process's exit status."""
    began = time.monotonic()
    system = LocalSystem(directory)
    await system.down()
    screen.headline("Setting up")
    await system.up(screen.say, WITHOUT_S3)
    try:
        screen.say(f"ready after {time.monotonic() - began:.1f} s")
        outcome = await Story(system, screen, directory).tell()
        screen.report(outcome.rescues, outcome.audit)
    except (TimeoutError, YaokiError) as error:
        screen.headline(f"The demonstration failed: {error}")
        for name in ("health-probe", "slo", "recovery-1", "recovery-2", "orders"):
            screen.say(f"--- {name}\n{system.services.tail(name)}")
        return 1
    finally:
        await system.down()
    return 0 if outcome.good else 1


def main() -> None:
    """Run the demonstration."""
    # The story is told by events; what the libraries log of their reconnects belongs into the services' own logs.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    parser = argparse.ArgumentParser(prog="python -m rescue", description="Kill a database and a cache; watch.")
    parser.add_argument("--directory", type=Path, default=Path(".yaoki/demo"), help="where everything is put")
    arguments = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):  # everything is ended by then
        sys.exit(asyncio.run(demonstrate(arguments.directory.resolve(), Screen())))
    sys.exit(_INTERRUPTED)


main()
