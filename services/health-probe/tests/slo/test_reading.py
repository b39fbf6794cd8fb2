"""One question for many values: a real bucket and the one in memory answer alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from yaoki.maintenance import BUCKET
from yaoki.testing import InMemoryKeyValue

if TYPE_CHECKING:
    from yaoki.messaging.ports import KeyValue

    from .world import World

pytestmark = pytest.mark.real


@pytest.fixture(params=["real", "memory"])
def bucket(world: World, request: pytest.FixtureRequest) -> KeyValue:
    return world.hand.kv(BUCKET) if request.param == "real" else InMemoryKeyValue()


async def test_entries_are_the_newest_live_values_under_a_prefix(bucket: KeyValue) -> None:
    """By key, without deleted ones, and with revisions that a compare-and-set accepts."""
    for number in range(300):
        await bucket.put(f"ledger.20261101.target-{number:03}", str(number).encode())
    await bucket.put("ledger.20261102.target-000", b"another day")
    await bucket.put("ledger.20261101.target-007", b"newer")
    await bucket.delete("ledger.20261101.target-008")

    entries = await bucket.entries("ledger.20261101.")

    assert len(entries) == 299
    assert [entry.key for entry in entries] == sorted(entry.key for entry in entries)
    found = {entry.key: entry for entry in entries}
    seven = found["ledger.20261101.target-007"]
    assert seven.value == b"newer"
    assert "ledger.20261101.target-008" not in found
    assert await bucket.update(seven.key, b"newest", revision=seven.revision) > seven.revision
    assert await bucket.entries("nothing.") == []
