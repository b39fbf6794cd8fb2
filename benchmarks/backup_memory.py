"""`backup-memory`: peak memory of a process that stores 1 GB, and how little more it is for 10 GB.

The source is a stream that compresses to about two thirds, made as fast as it is read; the store is a real S3.
`--small` stores a tenth of both.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import resource
import sys
from typing import TYPE_CHECKING, Final

from _figures import figure
from backup.adapters.s3 import S3Location, S3ObjectStore
from backup.allocation import return_large_blocks
from backup.pipeline.codec import Identity
from backup.pipeline.patience import Patience, Throttle
from backup.pipeline.sealing import seal
from backup.pipeline.uploading import StreamUpload
from yaoki.clock import SystemClock
from yaoki_devstack.s3 import S3_ACCESS_KEY, S3_SECRET_KEY, S3Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BENCH: Final = "backup-memory"
BUCKET: Final = "memory"
MEBIBYTE: Final = 1 << 20
MOST_MIB: Final = 150
MOST_GROWTH_MIB: Final = 20


async def stream(size: int) -> AsyncIterator[bytes]:
    """`size` bytes in pieces; each begins with its number, so that no two are the same."""
    source = random.Random(1)  # noqa: S311 - data, not a secret
    block = b"".join(source.randbytes(600) + bytes(source.choices(b"abcdef ", k=1448)) for _ in range(512))
    for number in range(size // len(block)):
        yield b"%08d" % number + block[8:]


async def store(endpoint: str, size: int) -> None:
    """Back `size` bytes up and print this process's peak memory, MiB."""
    objects = S3ObjectStore(
        S3Location(bucket=BUCKET, endpoint=endpoint, access_key=S3_ACCESS_KEY, secret_key=S3_SECRET_KEY)
    )
    clock = SystemClock()
    upload = StreamUpload(
        objects,
        directory=f"size-{size}",
        stream="data",
        patience=Patience(clock),
        throttle=Throttle(clock, None),
        progress=lambda _size: None,
    )
    recipients = [Identity.generate().to_public()]
    await seal(stream(size), upload, name="data", recipients=recipients, level=1)
    objects.close()
    sys.stdout.write(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}\n")


async def measure(server: S3Server, size: int) -> float:
    """Peak memory of a process of its own, MiB."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--endpoint", server.url, "--size", str(size), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await child.communicate()
    if child.returncode != 0:
        sys.exit(f"the backup of {size} bytes ended with status {child.returncode}")
    return float(output)


async def compare(sizes: tuple[int, int]) -> None:
    """Print both figures."""
    async with S3Server() as server:
        await server.create_bucket(BUCKET)
        small, large = [await measure(server, size) for size in sizes]
    figure(BENCH, f"peak_mib_{sizes[0] // 10**6}_mb", small, at_most=MOST_MIB)
    figure(BENCH, f"peak_mib_{sizes[1] // 10**6}_mb", large, at_most=MOST_MIB)
    figure(BENCH, "growth_mib", large - small, at_most=MOST_GROWTH_MIB)


def main() -> None:
    """Measure, or be the process that is measured."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true", help="a tenth of the data")
    parser.add_argument("--endpoint", help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.endpoint:
        return_large_blocks()
        asyncio.run(store(arguments.endpoint, arguments.size))
    else:
        unit = 10**8 if arguments.small else 10**9
        asyncio.run(compare((unit, 10 * unit)))


if __name__ == "__main__":
    main()
