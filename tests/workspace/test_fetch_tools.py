"""Pinned servers come from the first source that has their content, and nothing else is ever unpacked."""

from __future__ import annotations

import hashlib
import http.server
import io
import platform
import subprocess
import sys
import tarfile
import threading
from functools import partial
from typing import TYPE_CHECKING

import fetch_tools
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATH = "pool/main/g/greeter/greeter_1.0+1_all.deb"
SCRIPT = b'#!/bin/sh\necho "greeter 1.0 with ${LD_LIBRARY_PATH##*/}: $*"\n'


def package(script: bytes) -> bytes:
    """A real Debian package with one program, one library and one document."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:xz") as archive:
        for name, content, mode in [
            ("./usr/bin/greeter", script, 0o755),
            ("./usr/lib/any-linux-gnu/libgreet.so.1", b"library", 0o644),
            ("./usr/share/doc/greeter/README", b"read me", 0o644),
        ]:
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), mode
            archive.addfile(member, io.BytesIO(content))
    parts = {"debian-binary": b"2.0\n", "control.tar.xz": b"odd", "data.tar.xz": data.getvalue()}
    archive_bytes = b"!<arch>\n"
    for name, content in parts.items():
        header = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
        archive_bytes += header + content + b"\n" * (len(content) % 2)
    return archive_bytes


def greeter(content: bytes) -> fetch_tools.Tool:
    digest = hashlib.sha256(content).hexdigest()
    pins = f"# why\n[greeter]\nrun usr/bin/greeter --version\namd64 {digest} {PATH}\narm64 {digest} {PATH}\n"
    return fetch_tools.read_pins(pins)["greeter"]


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a mirror; the sources before it have nothing, and there is none after it."""
    folder = tmp_path / "mirror"
    (folder / PATH).parent.mkdir(parents=True)
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("YAOKI_DEBIAN_MIRROR", f"{url}/without-it")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setattr(fetch_tools, "SOURCES", (url,))
        monkeypatch.setattr(fetch_tools, "architecture", lambda: "amd64")
        yield folder
        server.shutdown()


def test_a_server_is_unpacked_with_its_libraries_and_runs(mirror: Path, tmp_path: Path) -> None:
    """The source without the package is passed over; programs find their own libraries; documents stay out."""
    content = package(SCRIPT)
    (mirror / PATH).write_bytes(content)

    said = fetch_tools.install(greeter(content), tmp_path / "tools")

    launched = subprocess.run([tmp_path / "tools/bin/greeter", "a b"], capture_output=True, text=True, check=True)  # noqa: S603 - made above
    assert said == ["greeter 1.0 with any-linux-gnu: --version"]
    assert launched.stdout == "greeter 1.0 with any-linux-gnu: a b\n"
    assert not list((tmp_path / "tools").rglob("README"))


def test_what_is_there_is_not_fetched_again(mirror: Path, tmp_path: Path) -> None:
    content = package(SCRIPT)
    (mirror / PATH).write_bytes(content)
    fetch_tools.install(greeter(content), tmp_path / "tools")
    (mirror / PATH).unlink()
    (tmp_path / "tools/bin/greeter").unlink()

    fetch_tools.install(greeter(content), tmp_path / "tools")

    assert (tmp_path / "tools/bin/greeter").is_file()


def test_other_content_is_refused(mirror: Path, tmp_path: Path) -> None:
    """Whoever changes a package on its way gets nothing unpacked, let alone run."""
    (mirror / PATH).write_bytes(package(b"#!/bin/sh\nexit 0\n"))

    with pytest.raises(fetch_tools.ToolError, match="not used") as refusal:
        fetch_tools.install(greeter(package(SCRIPT)), tmp_path / "tools")

    assert "YAOKI_DEBIAN_MIRROR" in str(refusal.value)
    assert not list((tmp_path / "tools").rglob("greeter"))


def test_a_program_that_does_not_run_here_is_not_kept(mirror: Path, tmp_path: Path) -> None:
    content = package(b"#!/bin/sh\necho libmissing.so.1 not found >&2\nexit 127\n")
    (mirror / PATH).write_bytes(content)

    with pytest.raises(fetch_tools.ToolError, match=r"libmissing\.so\.1 not found.*GNU C library"):
        fetch_tools.install(greeter(content), tmp_path / "tools")

    assert not list((tmp_path / "tools").rglob("greeter"))


@pytest.mark.parametrize(("system", "machine"), [("darwin", "arm64"), ("linux", "riscv64")])
def test_other_machines_are_named(system: str, machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)

    with pytest.raises(fetch_tools.ToolError, match=f"this is {system} on {machine}"):
        fetch_tools.architecture()


def test_a_line_that_is_no_pin_is_named() -> None:
    with pytest.raises(fetch_tools.ToolError, match=r"tools-pin.txt:2: expected"):
        fetch_tools.read_pins("[greeter]\namd64 1234 pool/greeter.deb\n")


def test_every_server_is_pinned_for_every_architecture() -> None:
    """The same packages in the same versions, or a rebuild of them."""
    tools = fetch_tools.read_pins(fetch_tools.PIN_FILE.read_text(encoding="utf-8"))

    assert tools
    for tool in tools.values():
        packages = {arch: [path.rpartition("_")[0] for _, path in pins] for arch, pins in tool.packages.items()}
        assert tool.runs, tool.name
        assert packages.keys() == set(fetch_tools.ARCHITECTURES.values()), tool.name
        assert packages["amd64"] == packages["arm64"], tool.name
