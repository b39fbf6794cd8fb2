"""What a failure or an order starts."""

from __future__ import annotations

import msgspec
import pytest
from recovery.clearances import Clearance
from recovery.intake import CallPeople, Ignored, check_target, decide, order_run, run_id_of
from yaoki.commands.recovery import RunChain
from yaoki.config import TcpTarget
from yaoki.errors import RejectedError
from yaoki.events.probe import FailureDetected, FailureType
from yaoki.runs.starting import StartRun
from yaoki.subjects import token

from .builders import T0, config, failure

DATABASE = FailureType.DATABASE_CONNECTION


def test_a_failure_starts_a_run_that_carries_it_whole() -> None:
    start = decide(config(), failure(), sequence=7, cleared=None)

    assert isinstance(start, StartRun)
    assert start.resource == "orders"
    assert start.incident_id == "incident-1"
    assert msgspec.convert(start.facts["failure"], FailureDetected) == failure()


def test_the_same_incident_is_the_same_run_and_another_type_is_another() -> None:
    first = run_id_of("incident-1", DATABASE)

    assert first == run_id_of("incident-1", DATABASE)
    assert first != run_id_of("incident-1", FailureType.REPLICATION_LAG)
    assert first != run_id_of("incident-2", DATABASE)
    assert token(run_id_of("Incident 1 / *", DATABASE))


@pytest.mark.parametrize(
    ("cleared", "ignored"),
    [
        (None, False),
        (Clearance(incident_id="incident-0", sequence=6), False),
        (Clearance(incident_id="incident-0", sequence=8), True),
        (Clearance(incident_id="incident-1", sequence=8), True),
    ],
)
def test_a_failure_that_is_over_starts_nothing(cleared: Clearance | None, *, ignored: bool) -> None:
    decision = decide(config(), failure(), sequence=7, cleared=cleared)

    assert isinstance(decision, Ignored) is ignored


def test_a_target_of_another_installation_is_left_alone() -> None:
    assert isinstance(decide(config(), failure(target="else"), sequence=7, cleared=None), Ignored)


def test_a_failure_type_without_a_chain_calls_people() -> None:
    decision = decide(config(), failure(failure_type=FailureType.BACKUP_STALE), sequence=7, cleared=None)

    assert isinstance(decision, CallPeople)
    assert "backup_stale" in decision.reason


def test_the_orders_of_one_cluster_share_a_resource() -> None:
    order = RunChain(target="orders-db", failure_type=DATABASE, by="alice", reason="drill")

    start = order_run(config(), order, run_id="order-1", at=T0)

    assert (start.run_id, start.resource, start.started_by, start.reason) == (
        "order-1",
        "orders",
        "alice",
        "drill",
    )
    assert start.incident_id is None
    assert next(branch.name for branch in start.plan.branches) == "restart-database-connections"


def test_an_unknown_target_names_those_that_look_like_it() -> None:
    with pytest.raises(RejectedError, match=r"'order-db' is not configured.*orders-db"):
        check_target(config(), "order-db")


def test_an_order_without_a_chain_is_refused_with_the_reason() -> None:
    order = RunChain(target="gateway", failure_type=FailureType.NETWORK_PARTITION, by="alice")
    with_gateway = msgspec.structs.replace(config(), targets={"gateway": TcpTarget(host="gateway", port=443)})

    with pytest.raises(RejectedError, match="no chain of actions is configured for network_partition"):
        order_run(with_gateway, order, run_id="order-1", at=T0)


@pytest.mark.parametrize("failure_type", [FailureType.REDIS_CONNECTION, FailureType.DISK_FULL])
def test_an_order_for_a_failure_that_the_target_cannot_have_is_refused_naming_what_fits(
    failure_type: FailureType,
) -> None:
    """Its chain would end in maintenance mode, having repaired nothing."""
    order = RunChain(target="orders-db", failure_type=failure_type, by="alice")

    with pytest.raises(RejectedError) as refused:
        order_run(config(), order, run_id="order-1", at=T0)

    assert refused.value.message == (
        f"target 'orders-db' is of kind postgres and has no failures of type {failure_type.value}; "
        "expected database_connection or replication_lag"
    )
