"""A tar archive is understood however it is cut into chunks."""

from __future__ import annotations

import io
import tarfile

import pytest
from backup.sources.tar_watch import NoTarError, TarWatcher

FILES = {
    "backup_label": b"START WAL LOCATION\n",
    "base/1/112": b"\n" * 8192,
    "empty": b"",
    "a/" + "n" * 98 + "/" + "long": b"x" * 513,
    "backup_manifest": b'{ "a" }\n' * 100 + b"the end\n",
}


def archive() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        directory = tarfile.TarInfo("base/1")
        directory.type = tarfile.DIRTYPE
        tar.addfile(directory)
        for name, content in FILES.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize("size", [1, 7, 511, 512, 513, 4096, 1 << 20])
def test_chunks_of_any_size_show_the_same_files(size: int) -> None:
    names: list[str] = []
    watcher = TarWatcher({"backup_manifest": 8, "empty": 8}, names.append)
    data = archive()

    for start in range(0, len(data), size):
        watcher.take(data[start : start + size])

    assert names == ["base/1/", *FILES]
    assert watcher.kept == {"backup_manifest": b"the end\n", "empty": b""}
    assert watcher.counted == {"backup_manifest": 101, "empty": 0}


def test_a_size_beyond_octal_digits_is_read() -> None:
    """Archives of more than 8 GB in one file write sizes in base 256; the next header is where that says."""
    info = tarfile.TarInfo("large")
    info.size = 9 << 30
    names: list[str] = []
    watcher = TarWatcher({}, names.append)

    watcher.take(info.tobuf(tarfile.GNU_FORMAT))
    watcher.take(b"x" * 2048)

    assert names == ["large"]


def test_what_is_no_archive_is_said_to_be_none() -> None:
    with pytest.raises(NoTarError):
        TarWatcher({}).take(b"x" * 512)
