"""One trace from publisher to handler to what the handler publishes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from yaoki.errors import RejectedError
from yaoki.events.agent import ServerStarted
from yaoki.messaging.tracing import Consuming, traceparent
from yaoki.testing import eventually

from .observing import Recorder, stream_messages

if TYPE_CHECKING:
    from collections.abc import Callable

    from yaoki.messaging import Envelope, Messaging

    Build = Callable[[str], ServerStarted]

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """An SDK for this test alone: the global provider can be set only once."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    return exporter


def test_without_an_sdk_the_context_is_carried_on() -> None:
    with Consuming("process x", PARENT):
        assert traceparent() == PARENT
    assert traceparent() is None


@pytest.mark.real
async def test_publisher_and_handlers_share_a_trace(
    messaging: Messaging, spans: InMemorySpanExporter, started: Build
) -> None:
    async def handler(event: ServerStarted, _: Envelope) -> None:
        if event.member == "first":
            await messaging.publisher.publish(started("second"))

    messaging.on(durable="recovery-starts", types=(ServerStarted,), handler=handler)
    await messaging.start()
    await messaging.publisher.publish(started("first"))
    finished = await eventually(lambda: (found := spans.get_finished_spans())[3:] and found)
    names = sorted(span.name for span in finished)
    assert names == [
        "process evt.agent.server-started",
        "process evt.agent.server-started",
        "publish server-started",
        "publish server-started",
    ]
    contexts = [span.get_span_context() for span in finished]
    assert len({context.trace_id for context in contexts if context is not None}) == 1
    first, second = await stream_messages(messaging, "EVENTS")
    assert (first.headers or {})["traceparent"][3:35] == (second.headers or {})["traceparent"][3:35]


@pytest.mark.real
async def test_a_failed_handler_marks_its_span_without_the_text(
    messaging: Messaging, spans: InMemorySpanExporter, started: Build
) -> None:
    messaging.on(
        durable="recovery-starts",
        types=(ServerStarted,),
        handler=Recorder[ServerStarted](always=RejectedError("hunter2")),
    )
    await messaging.start()
    await messaging.publisher.publish(started("pg-a"))
    await eventually(lambda: any(span.name.startswith("process") for span in spans.get_finished_spans()))
    (failed,) = [span for span in spans.get_finished_spans() if span.name.startswith("process")]
    assert failed.status.description == "RejectedError"
    assert failed.events == ()
