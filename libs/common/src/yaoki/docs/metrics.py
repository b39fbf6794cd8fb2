"""`docs/metrics.md`: every metric of every package."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from yaoki.telemetry.metrics import describe

if TYPE_CHECKING:
    from collections.abc import Iterator

MODULES = {
    "yaoki.telemetry.metrics": "Every process",
    "yaoki.messaging.metrics": "Messages and requests",
    "yaoki.hands.metrics": "Hands: actions on real things",
    "backup.metrics": "Backup",
    "health_probe.metrics": "Health probe",
    "health_probe.slo.metrics": "Health probe, role slo",
    "recovery.metrics": "Recovery",
}
"""Where metrics are declared, and the heading. Services are named by text: `yaoki` depends on none of them."""

INTRODUCTION = """\
# Metrics

Every process serves its metrics in Prometheus' text format at `/metrics` of its HTTP address, with those of the
process itself (`process_cpu_seconds_total`, `process_resident_memory_bytes`, `process_open_fds`,
`python_gc_collections_total` and so on). Names with `_seconds` are in seconds, with `_bytes` in bytes. Labels never
hold a target, a run or an incident: these are in the events and the logs.
"""


def metrics_page() -> str:
    """The page as Markdown."""
    return "\n".join([INTRODUCTION, *_tables()]).rstrip() + "\n"


def _tables() -> Iterator[str]:
    for name, heading in MODULES.items():
        module = importlib.import_module(name)
        yield f"## {heading}\n\nDeclared in `{name}`.\n"
        yield "| metric | type | labels | meaning |\n|---|---|---|---|"
        for metric in describe(module):
            labels = ", ".join(f"`{label}`" for label in metric.labels)
            yield f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} |"
        yield ""
