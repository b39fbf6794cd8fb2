"""Rules for every test session of the workspace."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import hypothesis
import pytest
import structlog

if TYPE_CHECKING:
    from collections.abc import Generator

pytest_plugins = ["yaoki_devstack.fixtures"]

IN_CI = os.environ.get("CI", "").lower() in {"true", "1", "yes"}
NATS_CLI_MISSING = shutil.which("nats") is None

# A real server or a busy neighbour makes an example slow without making it wrong.
# The same examples in every run, so that a change is judged by itself; `make chaos` looks for new ones by its seed.
hypothesis.settings.register_profile("yaoki", deadline=None, print_blob=True, derandomize=True)
hypothesis.settings.register_profile("chaos", deadline=None, print_blob=True, max_examples=1000)
hypothesis.settings.load_profile("chaos" if "YAOKI_CHAOS_SEED" in os.environ else "yaoki")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs the nats command where a person has not installed it; CI must have it."""
    if IN_CI or not NATS_CLI_MISSING:
        return
    left_out = [item for item in items if item.get_closest_marker("nats_cli")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what this machine could not run."""
    if NATS_CLI_MISSING and not IN_CI:
        terminalreporter.write_line(
            "No `nats` command on PATH: tests marked nats_cli were left out "
            "(to run them: go install github.com/nats-io/natscli/nats, or `bash .ci/run` as CI does)."
        )


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Under CI a skipped test is a failed one: what did not run proves nothing."""
    report = yield
    _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """As for single tests: a module that skips itself fails in CI."""
    report = yield
    _fail_if_skipped(report)
    return report


def _fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    if IN_CI and report.outcome == "skipped":
        report.outcome = "failed"
        report.longrepr = f"skipped, and CI runs every test: {report.longreprtext or report.longrepr}"


@pytest.fixture(autouse=True)
def plain_log() -> None:
    """Log as structlog does, but with plain tracebacks: one in colours with all locals holds a loop up for seconds."""
    renderer = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.StackInfoRenderer(),
            structlog.dev.set_exc_info,
            structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S", utc=False),
            renderer,
        ]
    )


@pytest.fixture(scope="session")
def chaos_seed() -> int:
    """Seed of a randomised round; `make chaos` prints it, `make chaos SEED=n` repeats it."""
    return int(os.environ.get("YAOKI_CHAOS_SEED", "1"))
