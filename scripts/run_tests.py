"""Run the tests in parallel; what fails among others must then pass by itself, twice, or the run fails.

Usage: `python scripts/run_tests.py -n 3 -m "not chaos" libs/common` (the arguments are pytest's)

Three workers, their servers and the faults that tests inject share two cores. A test that a starved machine broke says
nothing about the change under test, one that is wrong fails alone as well. So up to MOST_AGAIN failed tests are run
again, each in a process of its own with nothing beside it; one failure there is final. More of them, an error while
collecting, or a crash of pytest is final at once. Tests that needed this are named at the very end: each is a race to
find, in the test or in the code, and none of them is forgotten by passing.

Exit status: 0 if every test passed among others or alone, else that of pytest.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

CACHE = Path(".pytest_cache/whole")
MOST_AGAIN = 3
TIMES = 2
TESTS_FAILED = 1
"""Exit status of pytest when tests ran to the end and some failed."""


def failed_tests(cache: Path) -> list[str]:
    """Return the ids of the tests that failed in the run that used this cache folder."""
    record = cache / "v" / "cache" / "lastfailed"
    return sorted(json.loads(record.read_text(encoding="utf-8"))) if record.exists() else []


def run(*arguments: str) -> int:
    """Run pytest with this Python and return its exit status."""
    return subprocess.run([sys.executable, "-m", "pytest", *arguments], check=False).returncode  # noqa: S603 - pytest


def passes_alone(test: str) -> bool:
    """Run one test TIMES times with nothing beside it."""
    return all(run("-p", "no:cacheprovider", "--no-header", test) == 0 for _ in range(TIMES))


def main(arguments: list[str]) -> int:
    """Run everything, then alone what failed."""
    shutil.rmtree(CACHE, ignore_errors=True)
    status = run("-o", f"cache_dir={CACHE}", *arguments)
    failed = failed_tests(CACHE)
    if status != TESTS_FAILED or not 0 < len(failed) <= MOST_AGAIN:
        return status
    print(f"\n{len(failed)} failed among others; each must now pass alone, {TIMES} times", flush=True)
    if not all(passes_alone(test) for test in failed):
        return status
    print("\nFAILED AMONG OTHERS, PASSED ALONE; each is a race to find:", *failed, sep="\n  ", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
