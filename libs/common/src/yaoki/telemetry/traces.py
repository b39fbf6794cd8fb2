"""OpenTelemetry: spans are exported only where a collector is configured, trace ids travel always."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor

    from yaoki.config.model import TelemetrySettings

_EXPORT_TIMEOUT_MS = 5000


def install_tracing(settings: TelemetrySettings, *, service: str, instance: str) -> TracerProvider:
    """Make this process part of every trace.

    Without a collector spans are not recorded (about 5 us each), but they have identities, so that
    `traceparent` stands on every message and in every log line, and another service may export its part.
    """
    exporting = settings.otlp_endpoint is not None
    provider = TracerProvider(
        sampler=ALWAYS_ON if exporting else ALWAYS_OFF,
        resource=Resource.create({"service.name": f"yaoki-{service}", "service.instance.id": instance}),
        shutdown_on_exit=False,
    )
    if settings.otlp_endpoint is not None:
        provider.add_span_processor(_otlp(settings.otlp_endpoint))
    trace.set_tracer_provider(provider)
    return provider


def _otlp(endpoint: str) -> SpanProcessor:
    # Imported here: the exporter brings `requests`, which a process that exports nothing need not load.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - see above
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - as above

    url = endpoint if endpoint.endswith("/v1/traces") else f"{endpoint.rstrip('/')}/v1/traces"
    return BatchSpanProcessor(
        OTLPSpanExporter(endpoint=url, timeout=_EXPORT_TIMEOUT_MS / 1000),
        export_timeout_millis=_EXPORT_TIMEOUT_MS,
    )
