"""Figures of a report in words, the same in every document."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaoki.config.forms import format_duration

if TYPE_CHECKING:
    from datetime import datetime

    from yaoki.commands.slo import RecoveryPointFigures, SlaReport

NOT_MEASURED = "not measured"


def percent(value: float | None) -> str:
    """Rounded down, so that a missed goal never looks like a kept one."""
    if value is None:
        return NOT_MEASURED
    return f"{int(value * 10_000 + 1e-6) / 10_000:.4f}".rstrip("0").rstrip(".") + " %"


def duration(seconds: float | None) -> str:
    """Hours and minutes, or seconds when it is short."""
    if seconds is None:
        return NOT_MEASURED
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def verdict(met: bool | None) -> str:  # noqa: FBT001 - a value that is shown, not a switch
    """`kept`, `missed` or that nobody measured it."""
    return NOT_MEASURED if met is None else "kept" if met else "missed"


def summary(report: SlaReport) -> list[tuple[str, str, str, str]]:
    """Objective, promise, figure, verdict: one row each."""
    rows = [
        ("Availability", f"{report.goal:g} %", percent(report.availability), verdict(report.met)),
        ("Availability, raw", "for information", percent(report.raw_availability), ""),
        (
            "Error budget",
            f"{report.budget_minutes:.1f} min",
            f"{report.budget_used} min used",
            verdict(report.budget_used <= report.budget_minutes),
        ),
    ]
    if report.response_goal:
        met = None if not report.response_days else report.response_days == report.response_days_met
        kept = f"{report.response_days_met} of {report.response_days} days"
        rows.append(("Response time", report.response_goal, kept, verdict(met)))
    average = NOT_MEASURED if report.average_ms is None else f"{report.average_ms:.0f} ms"
    rows += [
        ("Response time, monthly mean", "for information", average, ""),
        ("Recovery time", f"under {format_duration(report.rto_s)}", _longest(report), verdict(report.rto_met)),
        (
            "Recovery point",
            f"under {format_duration(report.rpo_s)}",
            _worst_point(report),
            verdict(report.rpo_met),
        ),
        ("Service credit", report.credit_rule, f"{report.credit_percent:g} %", ""),
    ]
    return rows


def minutes_rows(report: SlaReport) -> list[tuple[str, int, int]]:
    """State, adjusted, raw."""
    return [
        (name, getattr(report.minutes, name), getattr(report.raw_minutes, name))
        for name in ("up", "down", "unknown", "maintenance")
    ]


def span(report: SlaReport) -> str:
    """What the figures are about."""
    if report.complete:
        return f"{report.month}, {report.time_zone}"
    return f"{report.month} until {report.until.isoformat(timespec='minutes')}, {report.time_zone}: not over yet"


def recovery_point_rows(report: SlaReport) -> list[tuple[str, datetime, str, str]]:
    """Of what, when, measured by what, and how much; several of one backup series as their worst."""
    rows = []
    worst_backups: dict[tuple[str, str], RecoveryPointFigures] = {}
    for point in report.recovery_points:
        if point.source == "failover":
            rows.append((point.subject, point.at, point.source, _lost(point)))
            continue
        known = worst_backups.get((point.subject, point.source))
        if known is None or _badness(point) > _badness(known):
            worst_backups[point.subject, point.source] = point
    rows += [(point.subject, point.at, f"{point.source}, worst", _lost(point)) for point in worst_backups.values()]
    return sorted(rows, key=lambda row: row[1])


def _badness(point: RecoveryPointFigures) -> float:
    return float("inf") if point.seconds is None else point.seconds


def _lost(point: RecoveryPointFigures) -> str:
    if point.seconds is not None:
        return duration(point.seconds)
    return f"{NOT_MEASURED} in time" + (f", at least {point.lost_bytes} bytes" if point.lost_bytes else "")


def _worst_point(report: SlaReport) -> str:
    unmeasured = sum(point.seconds is None for point in report.recovery_points)
    measured = duration(report.worst_rpo_s)
    return f"{measured}; {unmeasured} not measured" if unmeasured and report.worst_rpo_s is not None else measured


def _longest(report: SlaReport) -> str:
    return "no failure" if report.longest_s is None else f"longest {duration(report.longest_s)}"
