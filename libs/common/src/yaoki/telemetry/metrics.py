"""How metrics are declared and served.

Each package declares its metrics once, as module attributes of its `metrics.py`, with the types of
`prometheus_client` and the buckets below; `docs/metrics.md` is generated from these modules. Labels have few
values: never a target, a run id or an entity token of a subject. Metrics of the process itself (CPU, memory,
file descriptors) come with `prometheus_client`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, Gauge, generate_latest
from prometheus_client.metrics import MetricWrapperBase

if TYPE_CHECKING:
    from types import ModuleType

FAST_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Buckets for messages, requests and probes."""

SLOW_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0, 14400.0)
"""Buckets for recoveries, backups and restores."""

INFO = Gauge("yaoki_info", "1, with what this process is as labels.", ["service", "instance", "version"])


class MetricDescription(msgspec.Struct, frozen=True, kw_only=True):
    """What the documentation says of one metric."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...]


def exposition() -> tuple[bytes, str]:
    """All metrics of this process in Prometheus' text format, and its content type."""
    return generate_latest(REGISTRY), CONTENT_TYPE_LATEST


def describe(module: ModuleType) -> list[MetricDescription]:
    """Every metric that is an attribute of `module`, by name."""
    found = [value for value in vars(module).values() if isinstance(value, MetricWrapperBase)]
    return sorted((_description(metric) for metric in found), key=lambda description: description.name)


def _description(metric: MetricWrapperBase) -> MetricDescription:
    family = next(iter(metric.describe()))
    suffix = "_total" if family.type == "counter" else ""
    return MetricDescription(
        name=f"{family.name}{suffix}",
        kind=family.type,
        help=family.documentation,
        labels=tuple(metric._labelnames),  # noqa: SLF001 - the library has no public way to ask
    )
