"""The report as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from health_probe.slo import figures

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from yaoki.commands.slo import SlaReport


def markdown(report: SlaReport) -> str:
    """The whole document."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: SlaReport) -> Iterator[str]:
    zone = ZoneInfo(report.time_zone)
    yield f"# Service level of {_plain(report.service)}, {report.month}\n"
    yield f"{figures.span(report)}. Targets: {', '.join(report.targets)}.\n"
    yield from _table(("objective", "promised", "reached", ""), figures.summary(report))
    yield "\n## Minutes\n"
    yield "Unknown minutes count as down. Planned maintenance is left out of the adjusted figures.\n"
    yield from _table(("state", "adjusted", "raw"), figures.minutes_rows(report))
    yield "\n## Failures\n"
    if report.incidents:
        rows = [
            (
                incident.target,
                f"{incident.started_at.astimezone(zone):%Y-%m-%d %H:%M:%S}",
                figures.duration(incident.seconds) + ("" if incident.ended_at else ", lasts still"),
                figures.verdict(incident.within_rto),
                incident.incident_id,
            )
            for incident in report.incidents
        ]
        yield from _table(("target", "began", "took", "recovery time", "incident"), rows)
    else:
        yield "None."
    yield "\n## Recovery points\n"
    points = [
        (subject, f"{at.astimezone(zone):%Y-%m-%d %H:%M:%S}", source, lost)
        for subject, at, source, lost in figures.recovery_point_rows(report)
    ]
    if points:
        yield from _table(("of", "at", "measured by", "data lost, or at risk"), points)
    else:
        yield "Nothing measured one."
    yield "\n## Planned maintenance\n"
    if report.windows:
        windows = [
            (
                window.window_id,
                f"{window.start.astimezone(zone):%Y-%m-%d %H:%M} to {window.end.astimezone(zone):%H:%M}",
                f"{report.overrun_minutes.get(window.window_id, 0)} min",
                _plain(window.reason),
            )
            for window in report.windows
        ]
        yield from _table(("window", "time", "overrun, counted as downtime", "reason"), windows)
    else:
        yield "None."
    yield "\n## Days\n"
    days = [
        (
            day.day,
            day.minutes.up,
            day.minutes.down,
            day.minutes.unknown,
            day.minutes.maintenance,
            day.responses,
            figures.percent(day.within_share),
        )
        for day in report.days
    ]
    yield from _table(("day", "up", "down", "unknown", "maintenance", "responses", "in time"), days)
    yield f"\nMade {report.generated_at.astimezone(zone).isoformat(timespec='seconds')}."


def _table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> Iterator[str]:
    names = list(head)
    yield f"| {' | '.join(names)} |"
    yield f"|{'---|' * len(names)}"
    for row in rows:
        yield f"| {' | '.join(str(cell) for cell in row)} |"


def _plain(text: str) -> str:
    """What somebody typed must not become a table or markup of its own."""
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())
