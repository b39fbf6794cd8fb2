"""Sets up logs, traces and metrics of one process; `main.py` calls it before it opens anything else."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, TextIO

from yaoki.telemetry.logs import configure_logs
from yaoki.telemetry.metrics import INFO
from yaoki.telemetry.redaction import Redactor
from yaoki.telemetry.traces import install_tracing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry.sdk.trace import TracerProvider

    from yaoki.config.model import TelemetrySettings
    from yaoki.config.secrets import Secret


class Telemetry:
    """What was set up; call `shutdown` last, so that the final spans are still sent."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider

    def shutdown(self) -> None:
        """Send what is left; waits at most some seconds for the collector."""
        self._provider.shutdown()


def setup_telemetry(
    service: str,
    instance: str,
    settings: TelemetrySettings,
    *,
    secrets: Iterable[Secret] = (),
    stream: TextIO | None = None,
) -> Telemetry:
    """Configure this process's telemetry.

    Args:
        service: E.g. `recovery`.
        instance: E.g. `recovery-1`.
        settings: Section `telemetry` of the configuration.
        secrets: Never written, wherever they turn up (`config.secrets()`).
        stream: Of the log; stderr when left out.
    """
    redactor = Redactor(secret.reveal() for secret in secrets if secret.resolved)
    configure_logs(settings, service=service, instance=instance, redactor=redactor, stream=stream)
    INFO.labels(service=service, instance=instance, version=version("yaoki")).set(1)
    return Telemetry(install_tracing(settings, service=service, instance=instance))
