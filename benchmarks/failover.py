"""From SIGKILL of the PostgreSQL primary to the application's next acknowledged write.

    python benchmarks/failover.py [--rounds 5]

The whole system as `make up` runs it: agents, prober (interval 1 s, three failures, re-probe after 0.25 s), recovery
and the order service as processes of their own, synchronous replication, orders placed all along. A figure is the
longest time in which no order was acknowledged, as the clients see it. Prints one JSON object a line.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from _figures import figure
from rescue.observer import Observer
from rescue.screen import Screen
from rescue.story import Story
from rich.console import Console
from yaoki.sdk import Yaoki
from yaoki_cli.local.system import LocalSystem

if TYPE_CHECKING:
    from rescue.measure import Rescue

MEDIAN_LIMIT_S = 5.0
WORST_LIMIT_S = 8.0


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description="Unavailability of writes in a failover.")
    parser.add_argument("--rounds", type=int, default=5)
    # Standard output is for figures alone.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    rescues, lost = asyncio.run(_run(parser.parse_args().rounds))
    silences = [rescue.unavailability_s for rescue in rescues]
    figure("failover", "median_s", statistics.median(silences), at_most=MEDIAN_LIMIT_S)
    figure("failover", "worst_s", max(silences), at_most=WORST_LIMIT_S)
    figure("failover", "detection_median_s", statistics.median(rescue.detection_s for rescue in rescues))
    figure("failover", "recovery_median_s", statistics.median(rescue.recovery_s for rescue in rescues))
    figure("failover", "acknowledged_writes_lost", lost, at_most=0)


async def _run(rounds: int) -> tuple[list[Rescue], int]:
    screen = Screen(Console(file=sys.stderr, highlight=False))
    with tempfile.TemporaryDirectory(prefix="yaoki-bench-") as directory:
        Path(directory).chmod(0o755)  # noqa: ASYNC240 - once, before anything runs; PostgreSQL's own user has to pass
        system = LocalSystem(Path(directory) / "local")
        try:
            stack = await system.up(screen.say)
            story = Story(system, screen, Path(directory))
            async with (
                Yaoki.connect(stack.nats.url, application="benchmark") as yaoki,
                Observer(yaoki, screen.event) as observer,
                story.load(),
            ):
                rescues = [await story.rescue_database(yaoki, observer) for _ in range(rounds)]
            return rescues, len((await story.count_losses()).lost)
        finally:
            await system.down()


if __name__ == "__main__":
    main()
