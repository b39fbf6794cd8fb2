"""Structured logs on stderr: one JSON object a line, or coloured text for a person at a terminal.

Records of libraries (the `logging` module) take the same way, so that every line of a process looks alike,
carries the same identities and is redacted.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import TYPE_CHECKING, Any, TextIO

import structlog
from typing_extensions import override

from yaoki.messaging import envelope, tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager

    from structlog.typing import EventDict, Processor, WrappedLogger

    from yaoki.config.model import TelemetrySettings
    from yaoki.telemetry.redaction import Redactor

_TRACE_ID = slice(3, 35)
_QUIET = {
    "nats": logging.WARNING,
    "uvicorn": logging.WARNING,
    "httpx": logging.WARNING,
    "asyncio": logging.WARNING,
}


def get_logger(name: str = "") -> structlog.stdlib.BoundLogger:
    """A logger: `log.info("probe failed", target=..., error_class=...)`. The event is constant text."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(name)
    return logger


def bound(**identities: str | None) -> AbstractContextManager[None]:
    """Add `run=`, `incident=`, `target=` and the like to every record of this block and of tasks begun in it.

    None is left out.
    """
    present = {name: value for name, value in identities.items() if value is not None}
    return structlog.contextvars.bound_contextvars(**present)


def configure_logs(
    settings: TelemetrySettings,
    *,
    service: str,
    instance: str,
    redactor: Redactor,
    stream: TextIO | None = None,
) -> None:
    """Send every record of this process to `stream` (stderr when left out) in the configured form."""
    out = stream or sys.stderr
    pretty = settings.log == "pretty" or (settings.log == "auto" and out.isatty())
    shared = list(_shared(service, instance, pretty=pretty))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = _Handler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processor=_render(redactor, pretty=pretty, colors=out.isatty()),
            foreign_pre_chain=[structlog.contextvars.merge_contextvars, *shared],
            use_get_message=True,
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level.upper())
    for name, level in _QUIET.items():
        logging.getLogger(name).setLevel(max(level, root.level))
    logging.captureWarnings(capture=True)


class _Handler(logging.StreamHandler[TextIO]):
    """Says that a record could not be written without repeating it: it has not been redacted yet."""

    @override
    def handleError(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError, ValueError):
            error = sys.exc_info()[0]
            self.stream.write(
                f"a log record of {record.name}, line {record.lineno}, could not be written: "
                f"{error.__name__ if error else 'unknown error'}\n"
            )


def _shared(service: str, instance: str, *, pretty: bool) -> Iterable[Processor]:
    yield structlog.stdlib.add_log_level
    yield structlog.stdlib.add_logger_name
    yield structlog.stdlib.PositionalArgumentsFormatter()
    yield _identities(service, instance, pretty=pretty)
    yield structlog.processors.TimeStamper(fmt="%H:%M:%S.%f" if pretty else "iso", utc=not pretty)
    yield structlog.processors.StackInfoRenderer()
    if not pretty:
        yield structlog.processors.format_exc_info


def _identities(service: str, instance: str, *, pretty: bool) -> Processor:
    """Adds who speaks, the message being handled and the trace; a person at a terminal knows who speaks."""

    def add(_logger: WrappedLogger, _method: str, record: EventDict) -> EventDict:
        if not pretty:
            record.setdefault("service", service)
        record.setdefault("instance", instance)
        handling = envelope.current.get()
        if handling is not None:
            record.setdefault("message_id", handling.id)
            if handling.correlation:
                record.setdefault("correlation", handling.correlation)
        parent = tracing.traceparent()
        if parent:
            record.setdefault("trace_id", parent[_TRACE_ID])
        return record

    return add


def _render(redactor: Redactor, *, pretty: bool, colors: bool) -> Callable[[WrappedLogger, str, EventDict], str]:
    """Renders last and redacts twice: fields by name before, known values after, tracebacks included."""
    # Never a traceback with local variables: they hold secrets that nobody has named.
    last: Any = (
        structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)
        if pretty
        else structlog.processors.JSONRenderer(sort_keys=False, ensure_ascii=False)
    )

    def render(logger: WrappedLogger, method: str, record: EventDict) -> str:
        exception = record.pop("exc_info", None)
        safe = redactor.fields(dict(record))
        if exception is not None:
            safe["exc_info"] = exception
        return redactor.text(str(last(logger, method, safe)))

    return render
