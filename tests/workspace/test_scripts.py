"""The scripts that hold the workspace in order accept what is right and name what is wrong."""

from __future__ import annotations

import datetime as dt
import platform
import subprocess
from pathlib import Path

import adr_index
import changelog
import check_commit_message
import check_files
import package_index
import pytest

ROOT = Path(__file__).parents[2]
MAX_TARGETS = 15

RECORD = """# 0001: Keep it small

Status: Accepted

## Problem
a
## Reason
b
## Decision
c
## Details
d
## Consequences and objections
e
"""


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("lost-order.fixed.md", "An order was lost. It is kept now.", None),
        ("lost_order.fixed.md", "An order was lost.", "expected <slug>.<section>.md"),
        ("lost-order.repaired.md", "An order was lost.", "section one of added"),
        ("lost-order.fixed.md", " \n", "is empty"),
        ("lost-order.fixed.md", "- An order was lost.", "list mark"),
        ("lost-order.fixed.md", "An order was lost", "no full stop"),
        ("lost-order.fixed.md", "An order was lost. " * 40, "expected at most 600"),
    ],
)
def test_fragments_are_checked(tmp_path: Path, name: str, text: str, complaint: str | None) -> None:
    """A fragment that cannot go into the changelog is named with what was expected."""
    (tmp_path / name).write_text(text, encoding="utf-8")

    mistakes = changelog.find_mistakes(tmp_path)

    assert len(mistakes) == (0 if complaint is None else 1)
    assert all(name in mistake and complaint is not None and complaint in mistake for mistake in mistakes)


def test_a_release_moves_the_fragments_into_the_changelog(tmp_path: Path) -> None:
    """Sections come in a fixed order, older releases stay below, and the fragments are gone."""
    folder = tmp_path / "changelog.d"
    folder.mkdir()
    (folder / "b.fixed.md").write_text("An order\nwas lost.", encoding="utf-8")
    (folder / "a.added.md").write_text("There is a probe.", encoding="utf-8")
    log = tmp_path / "CHANGELOG.md"
    log.write_text(f"# Changelog\n\n{changelog.MARKER}\n\n## [0.1.0] - 2026-01-01\n", encoding="utf-8")

    changelog.release(folder, log, "0.2.0", dt.date(2026, 2, 3))

    assert log.read_text(encoding="utf-8").partition(changelog.MARKER)[2] == (
        "\n\n## [0.2.0] - 2026-02-03\n\n### Added\n\n- There is a probe.\n"
        "\n### Fixed\n\n- An order was lost.\n"
        "\n\n## [0.1.0] - 2026-01-01\n"
    )
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("file", "text", "complaint"),
    [
        ("0001-keep-it-small.md", RECORD, None),
        ("keep-it-small.md", RECORD, "expected a name like"),
        ("0002-keep-it-small.md", RECORD, "expected the first line"),
        ("0001-keep-it-small.md", RECORD.replace("Accepted", "Maybe"), "Status"),
        ("0001-keep-it-small.md", RECORD.replace("## Reason\nb\n", ""), "expected the headings"),
        ("0002-keep-it-small.md", RECORD.replace("0001", "0002"), "expected number 0001"),
    ],
)
def test_records_of_decisions_are_checked(tmp_path: Path, file: str, text: str, complaint: str | None) -> None:
    """A record that is not in the form of the template is named with what is missing."""
    (tmp_path / file).write_text(text, encoding="utf-8")

    if complaint is None:
        assert adr_index.read_records(tmp_path) == [
            adr_index.Record("0001", "0001-keep-it-small.md", "Keep it small", "Accepted")
        ]
    else:
        with pytest.raises(adr_index.MalformedRecordError, match=complaint):
            adr_index.read_records(tmp_path)


@pytest.mark.parametrize(
    ("message", "right"),
    [
        ("feat(recovery): promote the newest standby", True),
        ("fix!: drop the second promote order\n\nIt came late.", True),
        ("Merge branch 'main'", True),
        ("feat(recovery): Promote the newest standby", False),
        ("feat: promote the newest standby.", False),
        ("promote the newest standby", False),
        ("fix: drop it\nat once", False),
        ("fix: " + "x" * 80, False),
    ],
)
def test_commit_messages_are_checked(message: str, *, right: bool) -> None:
    """Conventional subjects pass, everything else is refused with a reason."""
    assert (check_commit_message.find_mistakes(message) == []) is right


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("url: postgresql://orders@127.0.0.1/orders", None),
        ("url: postgresql://orders:${PASSWORD_OF_ORDERS}@db/orders", None),
        ("-----BEGIN " + "PRIVATE KEY-----", "a private key"),
        ("seed: SU" + "A" * 56, "an NKEY seed"),
        ("url: postgresql://orders:" + "correct-horse-battery" + "@db/orders", "a password in an address"),
        ("x" * 500_001, "do not belong into the history"),
    ],
)
def test_secrets_and_large_files_are_refused(tmp_path: Path, content: str, complaint: str | None) -> None:
    """What must not enter the history is named by file and kind, without repeating the secret."""
    path = tmp_path / "some.yaml"
    path.write_text(content, encoding="utf-8")

    mistakes = check_files.find_mistakes(path)

    assert len(mistakes) == (0 if complaint is None else 1)
    assert all(complaint is not None and complaint in mistake and content not in mistake for mistake in mistakes)


def test_the_wheel_for_this_machine_is_chosen() -> None:
    """Of the wheels for many machines the one that can run here is taken, whatever else is offered."""
    here = platform.machine()
    fitting = {f"uv-1.0-py3-none-manylinux_2_17_{here}.whl", f"uv-1.0-py3-none-macosx_10_12_{here}.whl"}
    others = {"uv-1.0-py3-none-win_amd64.whl", f"uv-1.0-py3-none-manylinux_2_999_{here}.whl", "uv-1.0.tar.gz"}

    assert package_index.choose_wheel(sorted(fitting | others), "uv-1.0-") in fitting
    with pytest.raises(package_index.WheelNotFetchedError, match="nothing for"):
        package_index.choose_wheel(sorted(others), "uv-1.0-")


def test_make_help_lists_every_target() -> None:
    """`make help` needs no environment and names each target with what it does."""
    make = ["make", "--no-print-directory", "help"]  # make inside make names its directory otherwise
    done = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603 - our own Makefile
    phony = next(line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith(".PHONY:"))
    targets = phony.split()[1:]

    assert [line.split()[1] for line in done.stdout.splitlines()] == targets
    assert len(targets) <= MAX_TARGETS
