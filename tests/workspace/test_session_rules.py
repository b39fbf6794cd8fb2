"""The rules of the root conftest hold: in CI nothing is passed over; at home what cannot run is named."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from yaoki.testing import patient

ROOT = Path(__file__).parents[2]
PASSES = "def test_passes(): pass\n"
SKIPS_A_TEST = "import pytest\ndef test_skips(): pytest.skip('no server here')\n"
SKIPS_A_MODULE = "import pytest\npytest.skip('no module here', allow_module_level=True)\n"
NEEDS_NATS = "import pytest\n@pytest.mark.nats_cli\ndef test_needs_nats(): assert False, 'ran'\n"


def run_session(folder: Path, *sources: str, ci: bool, workers: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a session of its own under the root conftest, on a machine without the nats command."""
    shutil.copy(ROOT / "conftest.py", folder)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n    nats_cli: needs nats\n", encoding="utf-8")
    for number, source in enumerate(sources):
        (folder / f"test_{number}.py").write_text(PASSES + source, encoding="utf-8")
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # a session is begun several times, and needs no other plugin
    return subprocess.run(  # noqa: S603 - this Python, files of this test
        [sys.executable, "-m", "pytest", "-p", "xdist", f"-n{workers}", "-p", "no:cacheprovider", str(folder)],
        cwd=folder,
        env=env | {"CI": "true" if ci else "", "PATH": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=patient(50),
        check=False,
    )


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("source", "reason"), [(SKIPS_A_TEST, "no server here"), (SKIPS_A_MODULE, "no module here")], ids=["test", "module"]
)
def test_a_skip_fails_in_ci(tmp_path: Path, source: str, reason: str, workers: int) -> None:
    """What did not run is reported as failed, with the reason it gave."""
    done = run_session(tmp_path, source, ci=True, workers=workers)

    assert done.returncode != 0
    assert "skipped, and CI runs every test: " in done.stdout
    assert reason in done.stdout


def test_a_skip_is_a_skip_elsewhere(tmp_path: Path) -> None:
    """On a person's machine a skip stays visible as a skip, be it of a test or of a module."""
    done = run_session(tmp_path, SKIPS_A_TEST, SKIPS_A_MODULE, ci=False)

    assert "2 skipped" in done.stdout
    assert "failed" not in done.stdout


def test_without_nats_its_tests_are_left_out_and_named(tmp_path: Path) -> None:
    """The session passes, and one line says what was left out and how to get it."""
    done = run_session(tmp_path, NEEDS_NATS, ci=False)

    assert done.returncode == 0
    assert "1 passed, 1 deselected" in done.stdout
    assert done.stdout.count("tests marked nats_cli were left out") == 1


def test_without_nats_its_tests_fail_in_ci(tmp_path: Path) -> None:
    """CI has the nats command or is red."""
    done = run_session(tmp_path, NEEDS_NATS, ci=True)

    assert done.returncode == 1
    assert "1 failed, 1 passed" in done.stdout
