"""Only a `main` opens anything: importing a module connects to nothing, writes nothing and starts nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from yaoki.testing import patient

PROBE = Path(__file__).with_name("audited_import.py")
PACKAGES = ("yaoki", "yaoki_devstack", "yaoki_cli", "health_probe", "recovery", "orders", "rescue")

OFFENDERS = {
    "connects": "import socket\nsocket.create_connection(('127.0.0.1', 9))",
    "writes": "open('left-behind.txt', 'w')",
    "starts_a_program": "import subprocess\nsubprocess.run(['true'])",
    "starts_a_thread": "import threading as t\nt.Thread(target=t.Event().wait, daemon=True).start()",
}


def import_all(*packages: str, folder: Path) -> dict[str, object]:
    """Import packages in a process of their own and return its report."""
    done = subprocess.run(  # noqa: S603 - this Python, a file of this folder
        [sys.executable, "-B", str(PROBE), *packages],
        cwd=folder,
        env={"PYTHONPATH": str(folder), "HOME": str(folder), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=patient(50),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, object] = json.loads(done.stdout)
    return report


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_does_nothing_to_the_world(package: str, tmp_path: Path) -> None:
    """Every module imports without a socket, a file, a process or a thread."""
    report = import_all(package, folder=tmp_path)

    assert report["effects"] == {}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", OFFENDERS)
def test_an_import_with_an_effect_is_caught(name: str, tmp_path: Path) -> None:
    """The check itself works: a module that does something at import time is named."""
    package = tmp_path / "offender"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / f"{name}.py").write_text(OFFENDERS[name], encoding="utf-8")

    report = import_all("offender", folder=tmp_path)

    assert list(report["effects"]) == [f"offender.{name}"]  # type: ignore[call-overload] # JSON of our own program


def test_a_package_that_is_missing_is_not_passed_over(tmp_path: Path) -> None:
    """A misspelt package fails instead of proving nothing."""
    with pytest.raises(AssertionError, match="no package absent"):
        import_all("absent", folder=tmp_path)
