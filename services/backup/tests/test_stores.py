"""Every store keeps the contract of `ports.ObjectStore`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from backup.errors import ObjectExistsError, ObjectMissingError, StoreRefusedError

if TYPE_CHECKING:
    from backup.ports import ObjectStore

pytestmark = pytest.mark.real

PART = 5 << 20
"""The least that S3 takes for a part that is not the last."""


async def content(store: ObjectStore, key: str) -> bytes:
    return b"".join([chunk async for chunk in store.read(key)])


async def keys(store: ObjectStore, prefix: str = "") -> list[str]:
    return [item.key async for item in store.listing(prefix)]


async def test_parts_in_any_order_become_one_object(store: ObjectStore) -> None:
    """The number and offset of a part count, not when it arrives; a repeated part counts once."""
    first, second = b"a" * PART, b"b" * 100
    upload = await store.begin("t/data.000")

    await upload.put(2, PART, bytearray(second))
    await upload.put(1, 0, first)
    await upload.put(2, PART, second)
    await upload.finish(parts=2, size=PART + 100)

    assert await content(store, "t/data.000") == first + second
    assert [(item.key, item.size) async for item in store.listing("t/")] == [("t/data.000", PART + 100)]


async def test_an_unfinished_object_exists_for_nobody(store: ObjectStore) -> None:
    """Neither a listing nor a read shows it; the list of unfinished uploads does, until it is aborted."""
    upload = await store.begin("t/data.000")
    await upload.put(1, 0, b"half")

    assert await keys(store) == []
    with pytest.raises(ObjectMissingError):
        await content(store, "t/data.000")
    unfinished = [item async for item in store.unfinished("t/")]
    assert [item.key for item in unfinished] == ["t/data.000"]
    assert abs(unfinished[0].started - datetime.now(UTC)) < timedelta(minutes=5)

    await upload.abort()
    await upload.abort()

    assert [item async for item in store.unfinished("")] == []
    assert await keys(store) == []


async def test_an_unfinished_upload_of_another_process_can_be_abandoned(store: ObjectStore) -> None:
    """All that is needed is what the listing says."""
    await (await store.begin("t/data.000")).put(1, 0, b"half")

    for item in [item async for item in store.unfinished("t/")]:
        await store.abandon(item)

    assert [item async for item in store.unfinished("")] == []


async def test_finishing_checks_the_size(store: ObjectStore) -> None:
    """An object that lacks a part is not made; finishing twice is a success."""
    upload = await store.begin("t/data.000")
    await upload.put(1, 0, b"part")
    with pytest.raises(StoreRefusedError):
        await upload.finish(parts=2, size=8)

    await upload.finish(parts=1, size=4)
    await upload.finish(parts=1, size=4)

    assert await content(store, "t/data.000") == b"part"


async def test_nothing_that_exists_is_overwritten(store: ObjectStore) -> None:
    """The same bytes again are a success, others are refused, and the first stay."""
    await store.put_once("t/manifest.json", b"first")
    await store.put_once("t/manifest.json", b"first")
    with pytest.raises(ObjectExistsError):
        await store.put_once("t/manifest.json", b"other")

    assert await store.get("t/manifest.json", limit=100) == b"first"


async def test_a_large_object_is_not_read_as_a_small_one(store: ObjectStore) -> None:
    """A manifest that somebody replaced by a terabyte does not fill the memory."""
    await store.put_once("t/manifest.json", b"x" * 101)

    with pytest.raises(StoreRefusedError, match=r"101|more than"):
        await store.get("t/manifest.json", limit=100)


async def test_what_is_missing_is_named(store: ObjectStore) -> None:
    with pytest.raises(ObjectMissingError, match=r"t/none"):
        await store.get("t/none", limit=10)
    with pytest.raises(ObjectMissingError, match=r"t/none"):
        await content(store, "t/none")


async def test_a_listing_is_complete_sorted_and_below_its_prefix(store: ObjectStore) -> None:
    """More than one page of a thousand; a prefix that another name begins with is not mixed up with it."""
    wanted = [f"a/{number:04d}" for number in range(1_005)]
    for key in reversed(wanted):
        await store.put_once(key, b"x")
    await store.put_once("ab/0000", b"x")

    assert await keys(store, "a/") == wanted

    await store.delete([*wanted, "a/none"])

    assert await keys(store) == ["ab/0000"]


async def test_an_empty_store_lists_nothing(store: ObjectStore) -> None:
    assert await keys(store) == []
    assert [item async for item in store.unfinished("")] == []
