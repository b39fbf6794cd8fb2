"""The cause is looked at before the effect is judged."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from health_probe.causes_first import CausesFirst
from yaoki.events.probe import ProbeResult, ProbeStatus


class Recorder:
    """See `scheduler.Observer`."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.late: list[tuple[str, float]] = []

    def observe(self, target: str, _result: ProbeResult) -> float:
        self.seen.append(target)
        return 7.0

    def ran_late(self, target: str, seconds: float) -> None:
        self.late.append((target, seconds))


def result(status: ProbeStatus) -> ProbeResult:
    return ProbeResult(status=status, at=datetime(2026, 1, 1, tzinfo=UTC), response_ms=1.0)


@pytest.mark.parametrize(
    ("target", "status", "expected"),
    [
        ("shop", ProbeStatus.UNHEALTHY, ["api", "cache", "db"]),
        ("api", ProbeStatus.UNHEALTHY, ["cache", "db"]),
        ("db", ProbeStatus.UNHEALTHY, []),
        ("shop", ProbeStatus.HEALTHY, []),
        ("shop", ProbeStatus.DEGRADED, []),
        ("shop", ProbeStatus.UNKNOWN, []),
        ("nobody", ProbeStatus.UNHEALTHY, []),
    ],
)
def test_a_bad_result_hurries_everything_behind_its_target(
    target: str, status: ProbeStatus, expected: list[str]
) -> None:
    hurried: list[str] = []
    recorder = Recorder()
    observer = CausesFirst(recorder, {"shop": ["api"], "api": ["db", "cache"], "db": [], "cache": []})
    observer.send_to(hurried.append)

    assert observer.observe(target, result(status)) == 7.0
    observer.ran_late(target, 0.5)

    assert hurried == expected
    assert (recorder.seen, recorder.late) == ([target], [(target, 0.5)])
