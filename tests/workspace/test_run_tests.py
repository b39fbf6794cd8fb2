"""What fails among others is run again alone, and only what passes there twice is let through."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "run_tests.py"

COUNTED = """
from pathlib import Path
import pytest

def runs():
    seen = Path(__file__).with_name("runs")
    seen.write_text((seen.read_text() if seen.exists() else "") + "x")
    return len(seen.read_text())
"""


def run_script(folder: Path, source: str) -> subprocess.CompletedProcess[str]:
    """Run the script over one test file in a folder of its own."""
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    (folder / "test_it.py").write_text(COUNTED + source, encoding="utf-8")
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # none is needed, and a session is begun a dozen times
    return subprocess.run(  # noqa: S603 - this Python, files of this test
        [sys.executable, str(SCRIPT)], cwd=folder, env=env, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("source", "status", "runs"),
    [
        ("def test_good(): runs()", 0, 1),
        ("def test_starved(): assert runs() > 1", 0, 3),
        ("def test_wrong(): runs(); assert False", 1, 2),
        ("def test_racy(): assert runs() == 2", 1, 3),
        ("@pytest.mark.parametrize('n', range(4))\ndef test_many(n): assert runs() > 4", 1, 4),
    ],
    ids=["good", "fails among others only", "fails always", "fails the second time alone", "too many"],
)
def test_only_what_passes_alone_twice_is_let_through(tmp_path: Path, source: str, status: int, runs: int) -> None:
    done = run_script(tmp_path, source)

    assert done.returncode == status, done.stdout
    assert len((tmp_path / "runs").read_text(encoding="utf-8")) == runs


def test_what_passed_alone_is_named_at_the_end(tmp_path: Path) -> None:
    done = run_script(tmp_path, "def test_starved(): assert runs() > 1")

    assert done.stdout.splitlines()[-2:] == [
        "FAILED AMONG OTHERS, PASSED ALONE; each is a race to find:",
        "  test_it.py::test_starved",
    ]


def test_what_cannot_be_collected_is_not_tried_again(tmp_path: Path) -> None:
    done = run_script(tmp_path, "runs(); import no_such_module")

    assert done.returncode not in {0, 1}
    assert len((tmp_path / "runs").read_text(encoding="utf-8")) == 1
