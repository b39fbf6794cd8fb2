"""Bring servers that nobody packs as wheels into the project: packages of Debian, unpacked without being root.

Usage: `python3 scripts/fetch_tools.py [NAME...]`; all that are pinned when no name is given.

Reads `tools-pin.txt`. A package is taken by content (SHA-256) from the first source that has it, so the pin holds on
every distribution and after the archive has moved on; neither apt nor its package lists are needed. Each server is
unpacked with its libraries into `.tools/servers/`, gets a launcher in `.tools/bin/`, and is started once to prove it.
"""

from __future__ import annotations

import hashlib
import io
import os
import platform
import re
import subprocess
import sys
import tarfile
import tempfile
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parents[1]
PIN_FILE = Path(__file__).with_name("tools-pin.txt")
SECONDS = 60
# Content is what is trusted, not the transport; the archives without TLS work behind more proxies.
SOURCES = (
    "http://deb.debian.org/debian",
    "http://archive.debian.org/debian",
    "http://snapshot.debian.org/archive/debian/20261101T000000Z",
)
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
UNPACKED = re.compile(r"\./(usr/)?(bin|sbin|lib)/")
_AR_MAGIC = b"!<arch>\n"
_AR_HEADER = 60


class ToolError(Exception):
    """A tool cannot be had; the message says why and what to do."""


@dataclass
class Tool:
    """One section of the pin file.

    Attributes:
        runs: Command line of each program that shows its version; the program's path inside the packages first.
        packages: `(SHA-256, path below a source)` by architecture.
    """

    name: str
    runs: list[list[str]] = field(default_factory=list)
    packages: dict[str, list[tuple[str, str]]] = field(default_factory=dict)


def read_pins(text: str) -> dict[str, Tool]:
    """Return the pinned tools by name.

    Raises:
        ToolError: Names the line that is none.
    """
    tools: dict[str, Tool] = {}
    tool = Tool("")
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if section := re.fullmatch(r"\[([a-z-]+)\]", line):
            tool = tools.setdefault(section[1], Tool(section[1]))
        elif words[0] == "run" and len(words) > 1:
            tool.runs.append(words[1:])
        elif re.fullmatch(r"(amd64|arm64) [0-9a-f]{64} pool/\S+\.deb", line):
            tool.packages.setdefault(words[0], []).append((words[1], words[2]))
        else:
            raise ToolError(f"{PIN_FILE.name}:{number}: expected [tool], `run ...` or `<arch> <sha256> pool/...deb`")
    return tools


def sources() -> tuple[str, ...]:
    """Where packages come from: the configured mirror first."""
    mirror = os.environ.get("YAOKI_DEBIAN_MIRROR")
    return ((mirror.rstrip("/"),) if mirror else ()) + SOURCES


def install(tool: Tool, target: Path) -> list[str]:
    """Make the programs of a tool runnable under `target/bin`; return the first line that each says of itself.

    Raises:
        ToolError: It cannot be fetched, is not what was pinned, or does not run on this machine.
    """
    packages = tool.packages.get(architecture(), [])
    digest = hashlib.sha256("".join(sha256 for sha256, _ in packages).encode()).hexdigest()
    tree = target / "servers" / f"{tool.name}-{digest[:12]}"
    if not tree.is_dir():
        tree.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=tree.parent) as folder:
            fresh = Path(folder, "tree")
            for sha256, path in packages:
                unpack(download(sha256, path), fresh)
            prove(tool, fresh)
            try:
                fresh.rename(tree)
            except OSError:
                # Another fetch at the same time was first; its tree is the same.
                if not tree.is_dir():
                    raise
    for program, *_ in tool.runs:
        write_launcher(target / "bin" / Path(program).name, tree, program)
    return prove(tool, tree)


def architecture() -> str:
    """Debian's name of this machine's architecture.

    Raises:
        ToolError: No package fits this machine.
    """
    found = ARCHITECTURES.get(platform.machine())
    if sys.platform != "linux" or found is None:
        here = f"{sys.platform} on {platform.machine()}"
        raise ToolError(f"the packages are for Linux on {' or '.join(ARCHITECTURES)}; this is {here}")
    return found


def download(sha256: str, path: str) -> bytes:
    """Return the package with that content from the first source that has it."""
    failures = []
    for source in sources():
        url = f"{source}/{urllib.parse.quote(path)}"
        try:
            with urllib.request.urlopen(url, timeout=SECONDS) as answer:  # noqa: S310 - our own list, or the user's mirror
                content: bytes = answer.read()
        except (OSError, ValueError) as exc:
            failures.append(f"  {url}: {exc}")
            continue
        found = hashlib.sha256(content).hexdigest()
        if found == sha256:
            return content
        failures.append(f"  {url}: SHA-256 is {found}, expected {sha256}: not used")
    advice = "Check the network (http_proxy), or name a mirror: YAOKI_DEBIAN_MIRROR=http://mirror.example/debian"
    raise ToolError("\n".join([f"{Path(path).name} could not be fetched:", *failures, advice]))


def unpack(package: bytes, target: Path) -> None:
    """Put programs and libraries of a package under the target; no script of the package is run."""
    name, content = next((name, content) for name, content in members(package) if name.startswith("data.tar"))
    # Before 3.12 tarfile extracts what is not dangerous only when it is asked to, and before 3.11.4 it cannot be asked.
    options: dict[str, Any] = {"filter": "tar"} if hasattr(tarfile, "tar_filter") else {}
    try:
        with tarfile.open(name=name, fileobj=io.BytesIO(content)) as archive:
            wanted = [member for member in archive if UNPACKED.match(member.name) and not member.isdir()]
            archive.extractall(target, wanted, **options)  # noqa: S202 - the content is pinned
    except tarfile.TarError as exc:
        raise ToolError(f"{name} cannot be unpacked: {exc}") from exc


def members(package: bytes) -> Iterator[tuple[str, bytes]]:
    """The parts of a package, which is an `ar` archive: a header of 60 bytes each, padded to even length."""
    if not package.startswith(_AR_MAGIC):
        raise ToolError("expected a Debian package, found something else")
    at = len(_AR_MAGIC)
    while at + _AR_HEADER <= len(package):
        header = package[at : at + _AR_HEADER]
        size = int(header[48:58])
        at += _AR_HEADER
        yield header[:16].decode().rstrip(" /"), package[at : at + size]
        at += size + size % 2


def library_path(tree: Path) -> str:
    """The folders of a tool's own libraries."""
    return ":".join(
        str(folder) for folder in sorted([*tree.glob("lib/*-linux-gnu"), *tree.glob("usr/lib/*-linux-gnu")])
    )


def prove(tool: Tool, tree: Path) -> list[str]:
    """Start each program once; return the first line of each.

    Raises:
        ToolError: One does not start.
    """
    lines = []
    environment = {**os.environ, "LD_LIBRARY_PATH": library_path(tree)}
    for program, *arguments in tool.runs:
        try:
            done = subprocess.run(  # noqa: S603 - a pinned program, no shell
                [tree / program, *arguments],
                env=environment,
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as exc:
            raise ToolError(f"{program} does not start here: {exc} ({c_library()})") from exc
        said = (done.stdout + done.stderr).strip().splitlines() or ["nothing"]
        if done.returncode != 0:
            raise ToolError(f"{program} does not run here: {said[-1]} ({c_library()})")
        lines.append(said[0])
    return lines


def c_library() -> str:
    """What the programs need of the machine, for an error."""
    found = " ".join(platform.libc_ver()).strip() or "another one"
    return f"it needs the GNU C library 2.36 or later, as in Debian 12 or Ubuntu 24.04; here is {found}"


def write_launcher(launcher: Path, tree: Path, program: str) -> None:
    """Write a program of that name that runs the one in the tree with its own libraries.

    The paths are absolute because a launcher may be reached through links.
    """
    launcher.parent.mkdir(parents=True, exist_ok=True)
    libraries = library_path(tree.resolve())
    setting = f"LD_LIBRARY_PATH='{libraries}' " if libraries else ""
    fresh = launcher.with_name(f".{launcher.name}.{os.getpid()}")
    fresh.write_text(f"#!/bin/sh\n{setting}exec '{tree.resolve() / program}' \"$@\"\n", encoding="utf-8")
    fresh.chmod(0o755)
    fresh.replace(launcher)


def main(names: Sequence[str]) -> int:
    """Install the named tools, or all; return the exit status."""
    try:
        pins = read_pins(PIN_FILE.read_text(encoding="utf-8"))
        if unknown := [name for name in names if name not in pins]:
            print(f"no tool {unknown[0]!r} is pinned; there are: {', '.join(pins)}", file=sys.stderr)
            return 2
        for name in names or pins:
            for line in install(pins[name], ROOT / ".tools"):
                print(f"{name}: {line}")
    except ToolError as exc:
        print(exc, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
