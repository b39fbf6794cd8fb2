"""The month as a picture: one row a day, one column a minute, as inline SVG."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from health_probe.slo.moments import DAY_MINUTES, Period, days_of_month, minute_of, moment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    from yaoki.commands.slo import PictureRun, SlaReport

_SVG: Final = "http://www.w3.org/2000/svg"
_PATTERN: Final = (
    '<defs><pattern id="planned" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect width="6" height="6" fill="var(--maintenance)"/>'
    '<rect width="2" height="6" fill="var(--paper)" fill-opacity=".35"/></pattern></defs>'
)
_LEFT: Final = 74
_TOP: Final = 22
_ROW: Final = 20
_BAR: Final = 14
_RISE: Final = 2
_LEAST_WIDTH: Final = 3.0
"""So that one bad minute of a day is still seen."""
_SCALE: Final = 0.6
_HOURS: Final = (0, 3, 6, 9, 12, 15, 18, 21, 24)
_DAY_WORDS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def picture(report: SlaReport) -> str:
    """The SVG element."""
    zone = ZoneInfo(report.time_zone)
    days = days_of_month(report.month, zone)
    # A day on which clocks are set back has more minutes than others.
    longest = max(len(period) for _, period in days)
    width, height = _LEFT + longest * _SCALE + 8, _TOP + len(days) * _ROW + 6
    words = (
        f"Minutes of {report.service} in {report.month}: {report.minutes.up} up, {report.minutes.down} down, "
        f"{report.minutes.unknown} unknown, {report.minutes.maintenance} maintenance"
    )
    head = f'<svg viewBox="0 0 {width:.0f} {height}" role="img" aria-label="{escape(words)}" xmlns="{_SVG}">'
    parts = [head, _PATTERN, *_hours(height)]
    for row, (day, period) in enumerate(days):
        parts += _row(report, zone, day, period, _TOP + row * _ROW)
    return "".join([*parts, "</svg>"])


def _hours(height: int) -> Iterator[str]:
    for hour in _HOURS:
        x = _LEFT + hour * 60 * _SCALE
        yield f'<text x="{x:.1f}" y="14" text-anchor="middle">{hour:02}</text>'
        yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="18" y2="{height}" stroke="var(--line)" stroke-width="1"/>'


def _row(report: SlaReport, zone: ZoneInfo, day: date, period: Period, y: int) -> Iterator[str]:
    yield f'<text x="0" y="{y + 11}">{day:%d} {_DAY_WORDS[day.weekday()]}</text>'
    yield _bar(0, len(period), y, "var(--band)", "")
    # Bad minutes are drawn last, so that what is made wider to be seen is not covered.
    for run in sorted(report.runs, key=lambda run: run.state in {"down", "unknown"}):
        first = minute_of(run.start)
        part = Period(first, first + run.minutes).within(period)
        if len(part):
            yield _bar(part.first - period.first, len(part), y, _fill(run), _words(run, part, zone))


def _fill(run: PictureRun) -> str:
    return "url(#planned)" if run.state == "maintenance" else f"var(--{run.state})"


def _words(run: PictureRun, part: Period, zone: ZoneInfo) -> str:
    if run.state == "up":
        return ""
    seen = f", seen {run.seen}" if run.state == "maintenance" else ""
    start, end = (moment(minute).astimezone(zone) for minute in (part.first, part.end))
    return f"{start:%H:%M} to {end:%H:%M}: {run.state}{seen}, {len(part)} min"


def _bar(first: int, length: int, y: int, fill: str, words: str) -> str:
    shown = max(length * _SCALE, _LEAST_WIDTH if words else 0)
    x = min(_LEFT + first * _SCALE, _LEFT + max(DAY_MINUTES, first + length) * _SCALE - shown)
    # Taller as well, so that it is found without colours.
    rise = _RISE if fill == "var(--down)" else 0
    title = f"<title>{escape(words)}</title>" if words else ""
    return (
        f'<rect x="{x:.1f}" y="{y - rise}" width="{shown:.1f}" height="{_BAR + 2 * rise}" fill="{fill}">{title}</rect>'
    )
