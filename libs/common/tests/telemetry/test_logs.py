"""What is written to the log, and what never is. Each case runs in a process of its own, as a service does."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from typing import Any

import pytest

SET_UP = """
import logging, sys
from yaoki.config import Secret, TelemetrySettings
from yaoki.telemetry import bound, get_logger, setup_telemetry
telemetry = setup_telemetry(
    "recovery", "recovery-1", TelemetrySettings(log="{form}", level="info"),
    secrets=[Secret("env:A", 's3"cret/p@ss'), Secret("env:B", "ab"), Secret("env:C")], stream=sys.stdout,
)
log = get_logger("test")
"""

LEAKS = (
    "log.info('x', url='postgresql://u:s3\"cret/p@ss@h')",
    "log.info('x', nested={'a': ['s3\"cret/p@ss']})",
    "log.info('s3\"cret/p@ss')",
    "log.info('x', url='http://h/?p=s3%22cret%2Fp%40ss')",
    "log.info('x', password='other')",
    "log.info('x', settings={'nats_password': 'other', 'deeper': [{'api_key': 'other'}]})",
    "logging.getLogger('lib').warning('connect %s', 's3\"cret/p@ss')",
)
"""Statements that would show a secret."""


def written(program: str, form: str = "json") -> str:
    """What the program wrote to its log."""
    done = subprocess.run(  # noqa: S603 - this interpreter and a program that stands here
        [sys.executable, "-c", SET_UP.replace("{form}", form) + textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def records(program: str) -> list[dict[str, Any]]:
    """The log as records."""
    return [json.loads(line) for line in written(program).splitlines()]


def test_a_record_says_who_what_and_when() -> None:
    """One JSON object a line with constant event text and fields."""
    (record,) = records("log.info('probe failed', target='orders-db', failures=3)")

    assert record["event"] == "probe failed"
    assert (record["service"], record["instance"], record["level"]) == ("recovery", "recovery-1", "info")
    assert (record["target"], record["failures"], record["logger"]) == ("orders-db", 3, "test")
    assert record["timestamp"].endswith("Z")


def test_identities_are_bound_to_a_block_and_its_tasks() -> None:
    """Run and incident stand on every record below, those of libraries included."""
    program = """
        import asyncio
        async def step():
            log.info("inside")
            logging.getLogger("library").warning("library %s", "text")
        async def main():
            with bound(run="run-1", incident="inc-1", target=None):
                await asyncio.create_task(step())
            log.info("outside")
        asyncio.run(main())
    """
    inside, library, outside = records(program)

    assert (inside["run"], inside["incident"]) == ("run-1", "inc-1")
    assert (library["run"], library["event"], library["logger"]) == ("run-1", "library text", "library")
    assert "target" not in inside
    assert "run" not in outside


def test_the_trace_and_the_message_in_hand_are_on_every_record() -> None:
    """So that a log line leads to its trace and its event, and back."""
    program = """
        from datetime import UTC, datetime
        from opentelemetry import trace
        from yaoki.messaging import envelope
        from yaoki.messaging.ports import Envelope
        envelope.current.set(Envelope(id="m-1", source="/x", time=datetime.now(UTC), correlation="inc-1"))
        with trace.get_tracer("t").start_as_current_span("s") as span:
            log.info("traced", expected=f"{span.get_span_context().trace_id:032x}")
    """
    (record,) = records(program)

    assert record["trace_id"] == record["expected"] != "0" * 32
    assert (record["message_id"], record["correlation"]) == ("m-1", "inc-1")


@pytest.mark.parametrize("form", ["json", "pretty"])
def test_secrets_are_redacted_wherever_they_turn_up(form: str) -> None:
    """By the name of a field and by their known values, in every spelling."""
    lines = written("\n".join(LEAKS), form).splitlines()

    assert len(lines) == len(LEAKS)
    for line in lines:
        assert "[redacted]" in line
        assert "cret" not in line.replace("secret", "")
        assert "other" not in line


@pytest.mark.parametrize("form", ["json", "pretty"])
def test_a_traceback_has_neither_secrets_nor_local_variables(form: str) -> None:
    """Locals hold secrets that nobody has named."""
    program = """
        def connect():
            local = "unnamed-" + "secret"
            raise ValueError('cannot log in with s3"cret/p@ss')
        try:
            connect()
        except ValueError:
            log.exception("failed")
    """
    text = written(program, form)

    assert "ValueError" in text
    assert "[redacted]" in text
    assert "unnamed-secret" not in text
    assert "p@ss" not in text


def test_short_and_unresolved_secrets_do_not_blank_out_text() -> None:
    """A two-letter secret would stand in every other word."""
    (record,) = records("log.info('about', able='ab')")

    assert record["event"] == "about"
    assert record["able"] == "ab"


def test_the_level_is_kept() -> None:
    """Debug records of ours and of libraries stay away unless asked for."""
    assert records("log.debug('x'); logging.getLogger('lib').debug('x'); logging.getLogger('nats').info('x')") == []
