"""Whatever is done to stored bytes is found, at the right stage, and never handed out as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from backup.errors import DamagedError, ObjectMissingError
from backup.pipeline.codec import Identity
from backup.pipeline.unsealing import check_stored
from yaoki.events.backup import VerificationStage

from .streams import DIRECTORY, chunks, noise, opened, sealed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from backup.adapters.directory import DirectoryObjectStore
    from backup.manifest import StoredStream

SIZE = 300_000
PIECE = 65_552
"""What age seals at a time, with its tag."""


def swapped(data: bytes) -> bytes:
    start = len(data) - 3 * PIECE
    return (
        data[:start] + data[start + PIECE : start + 2 * PIECE] + data[start : start + PIECE] + data[start + 2 * PIECE :]
    )


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "last byte gone": lambda data: data[:-1],
    "cut at a piece": lambda data: data[: len(data) - PIECE],
    "half gone": lambda data: data[: len(data) // 2],
    "emptied": lambda data: data[:0],
    "one byte more": lambda data: data + b"x",
    "doubled": lambda data: data + data,
    "pieces swapped": swapped,
    **{
        f"bit flipped at {place}": lambda data, place=place: _flipped(data, place)  # type: ignore[misc]  # mypy infers no type for a lambda with defaults
        for place in (0, 30, 100, 200, 5_000, PIECE, 2 * PIECE + 17, -1)
    },
}


def _flipped(data: bytes, place: int) -> bytes:
    changed = bytearray(data)
    changed[place] ^= 0x10
    return bytes(changed)


@pytest.fixture
async def stored(directory_store: DirectoryObjectStore, identity: Identity) -> StoredStream:
    return await sealed(directory_store, chunks(noise(SIZE)), identity)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
async def test_damage_is_found(
    damage: Callable[[bytes], bytes],
    stored: StoredStream,
    directory_store: DirectoryObjectStore,
    identity: Identity,
    tmp_path: Path,
) -> None:
    """By the digest of what was stored, and without it by the encryption."""
    file = tmp_path / "repository" / DIRECTORY / "data.000"
    file.write_bytes(damage(file.read_bytes()))

    with pytest.raises(DamagedError, match=r"data\.000") as stage:
        await check_stored(directory_store, DIRECTORY, stored)
    assert stage.value.stage == VerificationStage.STORED_BYTES
    with pytest.raises(DamagedError) as opening:
        await opened(directory_store, stored, identity)
    assert opening.value.stage == VerificationStage.ENCRYPTION


async def test_a_wrong_key_is_said_so(stored: StoredStream, directory_store: DirectoryObjectStore) -> None:
    with pytest.raises(DamagedError, match="none of the 1 identities at hand opens"):
        await opened(directory_store, stored, Identity.generate())


async def test_a_missing_object_is_named(
    stored: StoredStream, directory_store: DirectoryObjectStore, identity: Identity
) -> None:
    await directory_store.delete([f"{DIRECTORY}/data.000"])

    with pytest.raises(ObjectMissingError, match=r"data\.000"):
        await opened(directory_store, stored, identity)
    with pytest.raises(ObjectMissingError, match=r"data\.000"):
        await check_stored(directory_store, DIRECTORY, stored)


async def test_a_stream_that_is_sealed_well_but_is_another_one(
    stored: StoredStream, directory_store: DirectoryObjectStore, identity: Identity
) -> None:
    """Whoever has the public key can seal; only the manifest knows what was stored."""
    await directory_store.delete([f"{DIRECTORY}/data.000"])
    await sealed(directory_store, chunks(noise(SIZE, seed=2)), identity)

    with pytest.raises(DamagedError, match="decompresses to 300000 bytes") as caught:
        await opened(directory_store, stored, identity)
    assert caught.value.stage == VerificationStage.COMPRESSION
