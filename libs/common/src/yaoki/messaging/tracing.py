"""OpenTelemetry spans around publishing and handling; next to nothing when no SDK is installed.

The installed tracer provider decides: without an SDK (`ProxyTracerProvider`) no span is created, and an
incoming `traceparent` is only carried on to what the handler publishes.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")

_carried: ContextVar[str | None] = ContextVar("yaoki_traceparent", default=None)
_off = trace.NoOpTracerProvider | trace.ProxyTracerProvider


def _tracer() -> trace.Tracer | None:
    """The tracer of the installed SDK; None without one."""
    provider = trace.get_tracer_provider()
    return None if isinstance(provider, _off) else _tracer_of(provider)


@lru_cache(maxsize=4)
def _tracer_of(provider: trace.TracerProvider) -> trace.Tracer:
    # Asking the SDK for each message costs more than the span itself.
    return provider.get_tracer("yaoki")


def traceparent() -> str | None:
    """The present trace context in W3C form; None outside of a trace."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"
    return _carried.get()


@contextmanager
def producing(name: str) -> Iterator[None]:
    """Span around one publish."""
    tracer = _tracer()
    if tracer is None:
        yield
        return
    with tracer.start_as_current_span(f"publish {name}", kind=SpanKind.PRODUCER):
        yield


class Consuming:
    """Span around handling one message, child of the sender's span.

    Args:
        name: Of the span: no entity in it.
        parent: `traceparent` as it arrived, None if there was none.
    """

    __slots__ = ("_manager", "_name", "_parent", "_span", "_token")

    def __init__(self, name: str, parent: str | None) -> None:
        self._name = name
        self._parent = parent
        self._span: Span | None = None

    def __enter__(self) -> None:
        self._token = _carried.set(self._parent)
        tracer = _tracer()
        if tracer is not None:
            parent = _remote(self._parent)
            context = None if parent is None else set_span_in_context(NonRecordingSpan(parent))
            self._span = tracer.start_span(self._name, context=context, kind=SpanKind.CONSUMER)
            self._manager = trace.use_span(self._span, end_on_exit=True, record_exception=False)
            self._manager.__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace_: object) -> None:
        if self._span is not None:
            if kind is not None:
                # The type alone: a message of an error may hold what must not leave the process.
                self._span.set_status(Status(StatusCode.ERROR, kind.__name__))
            self._manager.__exit__(None, None, None)
        _carried.reset(self._token)


def _remote(value: str | None) -> SpanContext | None:
    match = _TRACEPARENT.fullmatch(value) if value else None
    if match is None:
        return None
    return SpanContext(int(match[1], 16), int(match[2], 16), is_remote=True, trace_flags=TraceFlags(int(match[3], 16)))
