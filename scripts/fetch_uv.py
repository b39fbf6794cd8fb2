"""Bring the pinned uv into the project, with nothing but Python's standard library to start from.

Usage: `python3 scripts/fetch_uv.py .tools/bin/uv`

The wheel comes through pip where there is one (it knows the user's index, proxy and certificates), through
the pip of a throw-away virtual environment where the system has none, and straight from the package index
where Debian left out ensurepip as well. Whichever way it came, its SHA-256 must be one of those in
`uv-pin.txt`. Nothing outside the project is written.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import package_index

if TYPE_CHECKING:
    from collections.abc import Callable

PIN_FILE = Path(__file__).with_name("uv-pin.txt")
PIP_SECONDS = 300


class FetchError(Exception):
    """One way of getting the wheel failed; the message says why in one line."""


def read_pin() -> tuple[str, frozenset[str]]:
    """Return the pinned version and the SHA-256 digests of its wheels."""
    text = PIN_FILE.read_text(encoding="utf-8")
    version = re.search(r"^uv==(\S+)", text, re.MULTILINE)
    digests = frozenset(re.findall(r"--hash=sha256:([0-9a-f]{64})", text))
    if version is None or not digests:
        raise FetchError(f"{PIN_FILE}: expected a line `uv==<version>` and `--hash=sha256:...` lines")
    return version[1], digests


def run(*command: str) -> None:
    """Run a command quietly; raise `FetchError` with its last line when it fails."""
    try:
        done = subprocess.run(  # noqa: S603 - fixed commands of this Python, no shell
            command,
            capture_output=True,
            text=True,
            timeout=PIP_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as exc:
        raise FetchError(f"no end after {PIP_SECONDS} s") from exc
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
        raise FetchError(next((line for line in reversed(lines) if "ERROR" in line or "No module" in line), lines[-1]))


def download_by_pip(python: str, folder: Path) -> Path:
    """Let a pip fetch the pinned wheel into the folder."""
    run(
        *(
            python,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary",
            ":all:",
            "--require-hashes",
        ),
        *("--dest", str(folder), "--requirement", str(PIN_FILE)),
    )
    wheels = list(folder.glob("uv-*.whl"))
    if not wheels:
        raise FetchError("pip ended well but left no wheel")
    return wheels[0]


def by_own_pip(folder: Path) -> Path:
    """Use the pip of the Python that runs this script."""
    return download_by_pip(sys.executable, folder)


def by_venv_pip(folder: Path) -> Path:
    """Use the pip that ensurepip puts into a throw-away virtual environment."""
    run(sys.executable, "-m", "venv", str(folder / "venv"))
    return download_by_pip(str(folder / "venv" / "bin" / "python"), folder)


def by_index(folder: Path) -> Path:
    """Ask the package index itself."""
    version, _ = read_pin()
    try:
        return package_index.download_wheel("uv", version, folder)
    except package_index.WheelNotFetchedError as exc:
        raise FetchError(str(exc)) from exc


WAYS: dict[str, Callable[[Path], Path]] = {
    "pip of this Python": by_own_pip,
    "pip of a new virtual environment": by_venv_pip,
    "the package index": by_index,
}


def unpack(wheel: Path, target: Path) -> None:
    """Check the wheel's digest and put its `uv` executable at the target, atomically."""
    version, digests = read_pin()
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if digest not in digests:
        raise FetchError(f"{wheel.name} has SHA-256 {digest}, which {PIN_FILE.name} does not list: not used")
    with zipfile.ZipFile(wheel) as archive:
        content = archive.read(f"uv-{version}.data/scripts/uv")
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_suffix(f".{os.getpid()}")
    fresh.write_bytes(content)
    fresh.chmod(0o755)
    fresh.replace(target)


def main() -> int:
    """Try each way in turn; return the exit status."""
    target = Path(sys.argv[1])
    version, _ = read_pin()
    failures: list[str] = []
    for name, fetch in WAYS.items():
        with tempfile.TemporaryDirectory() as folder:
            try:
                unpack(fetch(Path(folder)), target)
            except FetchError as exc:
                failures.append(f"  {name}: {exc}")
                continue
        print(f"uv {version} is in {target} (through {name})")
        return 0
    print(f"uv {version} could not be fetched:", *failures, sep="\n", file=sys.stderr)
    print("Check the network, or set PIP_INDEX_URL (and SSL_CERT_FILE) as pip would need them.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
