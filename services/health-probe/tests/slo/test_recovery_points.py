"""How much data was lost, or would have been: what events measure, and what nobody does."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from health_probe.slo.entries import Head
from health_probe.slo.ledger import Shelf
from health_probe.slo.markdown import markdown
from health_probe.slo.page import page
from health_probe.slo.recovery_points import RecoveryPoint, RecoveryPoints, kept, subjects_of, worst
from health_probe.slo.report import Material, report
from yaoki.commands.slo import SloReport
from yaoki.config import ServiceLevel
from yaoki.epoch import Epoch
from yaoki.events.backup import BackupCompleted, RpoBreached, WalArchiveLagging
from yaoki.events.recovery import DurabilityDegraded, DurabilityRestored, PrimaryPromoted
from yaoki.maintenance import BUCKET as SLO

from .world import FixedClock, whole_minute

if TYPE_CHECKING:
    from yaoki.events import Event

    from .world import World

AT = datetime(2026, 11, 5, 12, tzinfo=UTC)
CLUSTER: dict[str, Any] = {"cluster": "orders", "epoch": Epoch(1, 7)}
HOUR = 3600.0


def promoted(lag_bytes: int = 0, previous: str = "db1") -> PrimaryPromoted:
    return PrimaryPromoted(**CLUSTER, member="db2", previous=previous, timeline=2, lag_bytes=lag_bytes)


def degraded(member: str) -> DurabilityDegraded:
    return DurabilityDegraded(**CLUSTER, member=member, wanted=1, present=0)


def restored(member: str) -> DurabilityRestored:
    return DurabilityRestored(**CLUSTER, member=member, wanted=1)


def completed(rpo_achieved_s: float | None, target: str = "orders-db") -> BackupCompleted:
    values: dict[str, Any] = {"backup_id": "b", "target": target, "kind": "postgres-logical", "repository": "s3"}
    times: dict[str, Any] = {"started_at": AT, "consistent_at": AT, "completed_at": AT}
    sizes: dict[str, Any] = {"duration_s": 1.0, "plain_bytes": 1, "stored_bytes": 1}
    return BackupCompleted(**values, **times, **sizes, rpo_achieved_s=rpo_achieved_s)


def measured(*events: Event, synchronous: tuple[str, ...] = ("orders",)) -> list[tuple[float | None, int]]:
    """Seconds and bytes of every point."""
    points = RecoveryPoints(synchronous)
    for number, event in enumerate(events):
        points.hear(event, f"e{number}", AT.timestamp())
    return [(point.seconds, point.lost_bytes) for point in points.changed.values()]


@pytest.mark.parametrize(
    ("events", "point"),
    [
        ((promoted(),), (0.0, 0)),
        ((promoted(lag_bytes=512),), (None, 512)),
        ((promoted(previous=""),), (None, 0)),
        ((degraded("db1"), promoted()), (None, 0)),
        ((degraded("db1"), restored("db1"), promoted()), (0.0, 0)),
        ((degraded("db2"), promoted()), (0.0, 0)),
        ((completed(90.0),), (90.0, 0)),
        ((RpoBreached(target="orders-db", rpo_s=60.0, age_s=75.0, breached_at=AT),), (75.0, 0)),
        ((RpoBreached(target="orders-db", rpo_s=60.0, breached_at=AT),), (None, 0)),
        (
            (WalArchiveLagging(target="orders-db", lag_s=12.0, limit_s=5.0, last_archived="0/3", lagging_at=AT),),
            (12.0, 0),
        ),
    ],
    ids=[
        "every commit waited",
        "bytes are missing",
        "nobody knows of whom",
        "the old primary waited for nobody",
        "it waits again",
        "the new primary is alone at first",
        "between two backups",
        "newest backup too old",
        "no backup at all",
        "archive behind",
    ],
)
def test_an_event_measures(events: tuple[Event, ...], point: tuple[float | None, int]) -> None:
    assert measured(*events) == [point]


def test_without_synchronous_replication_a_failover_proves_nothing() -> None:
    assert measured(promoted(), synchronous=()) == [(None, 0)]


def test_the_first_backup_measures_nothing() -> None:
    assert measured(completed(None)) == []


def test_a_new_primary_that_was_alone_counts_when_it_is_lost_in_its_turn() -> None:
    back = PrimaryPromoted(**CLUSTER, member="db1", previous="db2", timeline=3)

    assert measured(degraded("db2"), promoted(), back) == [(0.0, 0), (None, 0)]


@pytest.mark.parametrize(
    ("seconds", "verdict", "most"),
    [
        ((), None, None),
        ((0.0, 10.0), True, 10.0),
        ((0.0, HOUR), False, HOUR),
        ((0.0, None), None, 0.0),
        ((None, 2 * HOUR), False, 2 * HOUR),
    ],
)
def test_only_what_was_measured_below_the_objective_keeps_it(
    *, seconds: tuple[float | None, ...], verdict: bool | None, most: float | None
) -> None:
    points = [RecoveryPoint(event_id="e", subject="s", at=0.0, source="backup", seconds=one) for one in seconds]

    assert kept(points, HOUR) is verdict
    assert worst(points) == most


def test_a_report_names_the_worst_and_what_nobody_measured() -> None:
    points = [
        RecoveryPoint(event_id="1", subject="orders", at=AT.timestamp(), source="failover", lost_bytes=512),
        RecoveryPoint(event_id="2", subject="orders-db", at=AT.timestamp(), source="backup", seconds=60.0),
        RecoveryPoint(event_id="3", subject="orders-db", at=AT.timestamp(), source="backup", seconds=90.0),
    ]
    level = ServiceLevel(targets=("orders-db",))
    material = Material(service="orders", level=level, zone="UTC", now=AT, days={"orders-db": []}, points=points)

    made = report(material, "2026-11")
    text = markdown(made)

    assert (made.worst_rpo_s, made.rpo_met, len(made.recovery_points)) == (90.0, None, 3)
    assert "| Recovery point | under 1h | 1 min 30 s; 1 not measured | not measured |" in text
    assert "not measured in time, at least 512 bytes" in text
    assert text.count("| orders-db | 2026-11-05 12:00:00 | backup, worst | 1 min 30 s |") == 1
    assert "at least 512 bytes" in page(made)


def test_a_report_without_a_measurement_says_so() -> None:
    level = ServiceLevel(targets=("orders-db",))
    material = Material(service="orders", level=level, zone="UTC", now=AT, days={"orders-db": []})

    assert "| Recovery point | under 1h | not measured | not measured |" in markdown(report(material, "2026-11"))


@pytest.mark.real
async def test_events_become_the_report_once_and_outlive_the_writer(world: World) -> None:
    """Two writers one after the other; the second hears nothing again and knows who was degraded."""
    clock = FixedClock(whole_minute(datetime.now(UTC)))
    await world.hand.publisher.publish(completed(90.0, "orders-api"))
    await world.hand.publisher.publish(degraded("db1"))
    async with world.role(clock) as parts:
        await world.round(parts)
        first = await parts.levels.report(SloReport(service_name="orders"))
    async with world.role(clock, "slo-2") as parts:
        await world.round(parts)
        second = await parts.levels.report(SloReport(service_name="orders"))

    assert [point.seconds for point in first.recovery_points] == [90.0]
    assert second.recovery_points == first.recovery_points
    assert subjects_of(world.config, ("orders-api",)) == ("orders-api",)
    head = await Shelf(world.hand.kv(SLO), "head", Head).read()
    assert head is not None
    assert head.degraded == {"orders": ("db1",)}
