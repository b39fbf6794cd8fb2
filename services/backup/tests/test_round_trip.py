"""What went in comes out: through our code, and through the age and zstd commands."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
from typing import TYPE_CHECKING

import pytest
from backup.errors import StoreRefusedError
from backup.pipeline.codec import Identity, identity_of, recipients_of
from backup.pipeline.parts import FIRST_PART, MOST_PARTS, part_size
from hypothesis import given
from hypothesis import strategies as st

from .streams import DIRECTORY, chunks, noise, opened, sealed

if TYPE_CHECKING:
    from pathlib import Path

    from backup.ports import ObjectStore

MEGABYTE = 1 << 20


@pytest.mark.real
@pytest.mark.parametrize("size", [0, 1, 65_536, 20 * MEGABYTE + 7])
async def test_bytes_come_back_unchanged(store: ObjectStore, identity: Identity, size: int) -> None:
    """Empty, tiny, one age chunk, several parts."""
    data = noise(size)

    stream = await sealed(store, chunks(data), identity)

    assert await opened(store, stream, identity) == data
    assert (stream.plain_size, stream.plain_sha256) == (size, hashlib.sha256(data).hexdigest())


@pytest.mark.real
async def test_a_stream_goes_on_in_the_next_object(store: ObjectStore, identity: Identity) -> None:
    """An upload has a limit of parts; a stream has none."""
    data = noise(20 * MEGABYTE)

    stream = await sealed(store, chunks(data), identity, most_parts=1)

    assert [item.name for item in stream.objects] == [f"data.{number:03d}" for number in range(5)]
    assert await opened(store, stream, identity) == data


@pytest.mark.real
async def test_each_of_several_keys_opens_it(store: ObjectStore) -> None:
    """A new key is used beside the old one until the old backups are gone."""
    old, new = Identity.generate(), Identity.generate()

    stream = await sealed(store, chunks(b"rows"), old, new)

    assert [await opened(store, stream, key) for key in (old, new)] == [b"rows", b"rows"]


@pytest.mark.real
async def test_a_few_stored_bytes_may_stand_for_very_many(store: ObjectStore, identity: Identity) -> None:
    """Emptiness compresses a thousandfold; it is given out in small pieces all the same."""
    sizes: list[int] = []

    async def consume(chunk: bytes) -> None:
        sizes.append(len(chunk))

    from backup.pipeline.unsealing import unseal  # noqa: PLC0415 - with its own consumer

    stream = await sealed(store, chunks(bytes(64 * MEGABYTE)), identity)
    await unseal(store, DIRECTORY, stream, [identity], consume)

    assert sum(sizes) == 64 * MEGABYTE
    assert max(sizes) <= MEGABYTE
    assert sum(item.size for item in stream.objects) < MEGABYTE


@pytest.mark.real
async def test_the_age_and_zstd_commands_read_it(
    directory_store: ObjectStore, identity: Identity, tmp_path: Path, tool: dict[str, str]
) -> None:
    """No Yaoki is needed: cat data.* | age -d | zstd -d."""
    data = noise(9 * MEGABYTE) + b"rows" * MEGABYTE
    await sealed(directory_store, chunks(data), identity, most_parts=1)
    key = tmp_path / "key.txt"
    key.write_text(f"# created by a test\n{identity}\n", encoding="utf-8")
    stored = tmp_path / "repository" / DIRECTORY
    line = f"cat {stored}/data.* | {tool['age']} -d -i {key} | {tool['zstd']} -dc"

    found = await asyncio.to_thread(subprocess.run, ["sh", "-ec", line], check=True, capture_output=True)

    assert found.stdout == data


def test_the_key_file_of_age_keygen_is_read() -> None:
    key = Identity.generate()

    assert str(identity_of(f"# created: today\n# public key: x\n{key}\n")) == str(key)


def test_what_is_no_key_is_refused_without_showing_a_secret() -> None:
    with pytest.raises(StoreRefusedError, match="'age1short' is not an age public key"):
        recipients_of(("age1short",))
    with pytest.raises(StoreRefusedError, match="no recipient is configured"):
        recipients_of(())
    with pytest.raises(Exception, match="expected one line AGE-SECRET-KEY-1") as caught:
        identity_of("AGE-SECRET-KEY-1HUNTER2")
    assert "HUNTER2" not in str(caught.value)


@given(number=st.integers(1, MOST_PARTS))
def test_parts_never_shrink_and_stay_small(number: int) -> None:
    """S3 wants 5 MiB at least; our memory wants few."""
    assert part_size(1) == FIRST_PART
    assert part_size(number) <= part_size(number + 1)
    assert 5 * MEGABYTE <= part_size(number) <= 18 * MEGABYTE
