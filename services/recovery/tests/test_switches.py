"""Switches are turned on for an incident and off with it; nobody else's switch is touched."""

from __future__ import annotations

import pytest
from recovery.clearances import Clearance, ClearanceStore
from recovery.lifting import lift_all
from recovery.steps.switches import SwitchSteps
from yaoki.events.probe import FailureType
from yaoki.flag_store import FlagStore
from yaoki.flags import maintenance_key
from yaoki.runs.errors import PreconditionFailedError
from yaoki.testing import InMemoryKeyValue, InMemoryPublisher

from .builders import order
from .fakes import HandClock

DATABASE = FailureType.DATABASE_CONNECTION
KEY = maintenance_key()


class World:
    """Flags, clearances and the steps under test."""

    def __init__(self) -> None:
        self.bucket = InMemoryKeyValue()
        self.flags = FlagStore(self.bucket, InMemoryPublisher(), HandClock())
        self.clearances = ClearanceStore(InMemoryKeyValue())
        self.steps = SwitchSteps(self.flags, self.clearances)

    async def maintenance(self, run_id: str = "run-1") -> None:
        await self.steps.enable_maintenance(order("enable-maintenance", {"target": "orders-db"}, run_id=run_id))

    async def is_on(self, key: str = KEY) -> bool:
        found = await self.flags.switch(key)
        return bool(found and found.on)


async def test_maintenance_ends_with_the_incident_that_began_it() -> None:
    world = World()
    await world.maintenance()
    assert await world.is_on()

    assert await lift_all(world.bucket, world.flags, by="run-2", reason="another incident") == []
    assert await world.is_on()
    assert await lift_all(world.bucket, world.flags, by="run-1", reason="well again") == [KEY]
    assert not await world.is_on()


async def test_what_a_person_turned_on_stays_on() -> None:
    world = World()
    await world.flags.set_switch(KEY, on=True, by="alice", reason="release")
    await world.maintenance()

    assert await lift_all(world.bucket, world.flags, by="run-1", reason="well again") == []
    found = await world.flags.switch(KEY)
    assert found is not None
    assert (found.on, found.by) == (True, "alice")


async def test_a_failure_that_cleared_meanwhile_leaves_no_maintenance_behind() -> None:
    world = World()
    await world.clearances.note("orders-db", DATABASE, Clearance(incident_id="incident-1", sequence=9))

    with pytest.raises(PreconditionFailedError, match="cleared in the meantime"):
        await world.maintenance()
    assert not await world.is_on()


async def test_caching_is_disabled_for_the_group() -> None:
    world = World()

    await world.steps.disable_caching(order("disable-caching", {"group": "cache", "target": "orders-cache"}))

    assert await world.is_on("caching.cache")


async def test_an_older_clear_never_replaces_a_newer_one() -> None:
    clearances = ClearanceStore(InMemoryKeyValue())
    newer = Clearance(incident_id="incident-2", sequence=20)
    await clearances.note("orders-db", DATABASE, newer)

    await clearances.note("orders-db", DATABASE, Clearance(incident_id="incident-1", sequence=10))

    assert await clearances.newest("orders-db", DATABASE) == newer
    assert await clearances.is_cleared("orders-db", "incident-2")
    assert not await clearances.is_cleared("orders-db", "incident-1")
    assert not await clearances.is_cleared("orders-db-replica", "incident-2")
