"""The report as one HTML file without anything from outside: light and dark, readable on paper."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from health_probe.slo import figures
from health_probe.slo.picture import picture

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from yaoki.commands.slo import SlaReport

_STYLE: Final = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c2330; --soft: #5b6575; --line: #d9dee6;
  --up: #3f9a6b; --down: #c8323c; --maintenance: #4a78c2; --unknown: #8b8f98; --band: #eef1f5; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181f; --ink: #e6e9ef; --soft: #9aa4b4; --line: #2c3440;
  --up: #3b8d63; --down: #ef5a62; --maintenance: #6a97e0; --unknown: #7d828d; --band: #1e242d; } }
body { background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto;
  max-width: 62rem; padding: 0 1.25rem; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p.lead, footer { color: var(--soft); margin: .25rem 0 1.5rem; }
.tiles { display: grid; gap: .75rem; grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr)); margin: 1rem 0; }
.tile { border: 1px solid var(--line); border-radius: .5rem; padding: .75rem 1rem; }
.tile b { display: block; font-size: 1.5rem; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .75rem .3rem 0; text-align: left; }
th { color: var(--soft); font-weight: 600; }
.kept { color: var(--up); font-weight: 600; } .missed { color: var(--down); font-weight: 600; }
svg { display: block; width: 100%; min-width: 40rem; height: auto; }
svg text { fill: var(--soft); font: 11px system-ui, sans-serif; }
.legend { display: flex; flex-wrap: wrap; gap: 1.25rem; color: var(--soft); margin: .5rem 0; }
.legend i { display: inline-block; width: .9rem; height: .9rem; border-radius: 2px; margin-right: .4rem;
  vertical-align: -2px; }
@media print { body { margin: 0; max-width: none; } }
"""

_STATES: Final = (
    ("up", "up"),
    ("down", "down"),
    ("unknown", "unknown, counts as down"),
    ("maintenance", "planned maintenance"),
)


def page(report: SlaReport) -> str:
    """The whole document."""
    title = f"Service level of {escape(report.service)}, {report.month}"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{title}</h1><p class=lead>{escape(figures.span(report))}. "
        f"Targets: {escape(', '.join(report.targets))}.</p>"
        + _tiles(report)
        + "<h2>The month</h2>"
        + _legend()
        + f"<div class=scroll>{picture(report)}</div>"
        + "<h2>Objectives</h2>"
        + _table(("Objective", "Promised", "Reached", ""), figures.summary(report))
        + "<h2>Minutes</h2><p class=lead>Unknown minutes count as down. Planned maintenance is left out of the "
        "adjusted figures; the raw ones count it as what was seen.</p>"
        + _table(("State", "Adjusted", "Raw"), figures.minutes_rows(report))
        + "<h2>Failures</h2>"
        + _failures(report)
        + "<h2>Recovery points</h2>"
        + _points(report)
        + "<h2>Planned maintenance</h2>"
        + _windows(report)
        + "<h2>Days</h2>"
        + _days(report)
        + f"<footer>Made {_local(report, report.generated_at)}.</footer></body></html>\n"
    )


def _tiles(report: SlaReport) -> str:
    tiles = (
        ("Availability", figures.percent(report.availability), f"promised {report.goal:g} %", report.met),
        ("Raw", figures.percent(report.raw_availability), "maintenance counted as seen", None),
        (
            "Error budget",
            f"{report.budget_used} min used",
            f"of {report.budget_minutes:.1f} min in the month",
            report.budget_used <= report.budget_minutes,
        ),
        ("Service credit", f"{report.credit_percent:g} %", report.credit_rule, None),
    )
    return (
        "<div class=tiles>"
        + "".join(
            f'<div class=tile><span>{name}</span><b class="{"" if met is None else figures.verdict(met)}">'
            f"{escape(value)}</b><span>{escape(note)}</span></div>"
            for name, value, note, met in tiles
        )
        + "</div>"
    )


def _legend() -> str:
    items = "".join(f'<span><i style="background:var(--{state})"></i>{words}</span>' for state, words in _STATES)
    return f"<div class=legend>{items}</div>"


def _failures(report: SlaReport) -> str:
    if not report.incidents:
        return "<p>None.</p>"
    rows = [
        (
            incident.target,
            _local(report, incident.started_at),
            figures.duration(incident.seconds) + ("" if incident.ended_at else ", lasts still"),
            figures.verdict(incident.within_rto),
            incident.incident_id,
        )
        for incident in report.incidents
    ]
    return _table(("Target", "Began", "Took", "Recovery time", "Incident"), rows)


def _points(report: SlaReport) -> str:
    rows = [
        (subject, _local(report, at), source, lost) for subject, at, source, lost in figures.recovery_point_rows(report)
    ]
    return (
        _table(("Of", "At", "Measured by", "Data lost, or at risk"), rows) if rows else "<p>Nothing measured one.</p>"
    )


def _windows(report: SlaReport) -> str:
    if not report.windows:
        return "<p>None.</p>"
    rows = [
        (
            window.window_id,
            _local(report, window.start),
            f"{window.minutes} min",
            f"{report.overrun_minutes.get(window.window_id, 0)} min",
            window.reason,
        )
        for window in report.windows
    ]
    return _table(("Window", "Began", "Length", "Overrun, counted as downtime", "Reason"), rows)


def _days(report: SlaReport) -> str:
    rows = [
        (
            day.day,
            day.minutes.up,
            day.minutes.down,
            day.minutes.unknown,
            day.minutes.maintenance,
            day.responses,
            figures.percent(day.within_share),
            "" if day.within_met is None else figures.verdict(day.within_met),
        )
        for day in report.days
    ]
    return _table(("Day", "Up", "Down", "Unknown", "Maintenance", "Responses", "In time", ""), rows)


def _table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    names = "".join(f"<th>{name}</th>" for name in head)
    body = "".join("<tr>" + "".join(_cell(str(cell)) for cell in row) + "</tr>" for row in rows)
    return f"<div class=scroll><table><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table></div>"


def _cell(text: str) -> str:
    marked = f' class="{text}"' if text in {"kept", "missed"} else ""
    return f"<td{marked}>{escape(text)}</td>"


def _local(report: SlaReport, at: datetime) -> str:
    return at.astimezone(ZoneInfo(report.time_zone)).isoformat(" ", timespec="seconds")
