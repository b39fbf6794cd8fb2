"""`python -m yaoki.docs [--check] [--root DIR]`: writes what is generated, or says what has drifted."""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from yaoki.docs.asyncapi import asyncapi_document
from yaoki.docs.configuration import SCHEMA_PATH, configuration_page, configuration_schema
from yaoki.docs.events import events_page
from yaoki.docs.metrics import metrics_page
from yaoki.docs.plans import PLAN_SCHEMA_PATH, plan_schema, plans_page

if TYPE_CHECKING:
    from collections.abc import Callable

PAGES: dict[str, Callable[[], str]] = {
    "docs/events.md": events_page,
    "docs/asyncapi.json": asyncapi_document,
    "docs/configuration.md": configuration_page,
    "docs/metrics.md": metrics_page,
    "docs/plans.md": plans_page,
    SCHEMA_PATH: configuration_schema,
    PLAN_SCHEMA_PATH: plan_schema,
}
_SHOWN_LINES = 12


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m yaoki.docs", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; status 1 when a page has drifted")
    parser.add_argument("--root", type=Path, default=Path(), help="the repository (default: here)")
    options = parser.parse_args(arguments)
    drifted = [name for name, page in PAGES.items() if not _current(options.root / name, page(), options.check)]
    if options.check and drifted:
        sys.stderr.write(f"{', '.join(drifted)}: not as generated; run `make docs` and commit\n")
        return 1
    return 0


def _current(path: Path, wanted: str, check: bool) -> bool:  # noqa: FBT001 - a private helper of the line above
    found = path.read_text(encoding="utf-8") if path.exists() else ""
    if found == wanted:
        return True
    if check:
        _show_difference(path, found, wanted)
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(wanted, encoding="utf-8")
    sys.stdout.write(f"wrote {path}\n")
    return True


def _show_difference(path: Path, found: str, wanted: str) -> None:
    """The first lines of the difference, and how much more there is."""
    lines = list(
        difflib.unified_diff(found.splitlines(), wanted.splitlines(), str(path), "generated", lineterm="", n=1)
    )
    sys.stderr.write("\n".join(lines[:_SHOWN_LINES]) + "\n")
    if len(lines) > _SHOWN_LINES:
        sys.stderr.write(f"... {len(lines) - _SHOWN_LINES} more lines differ\n")


if __name__ == "__main__":
    sys.exit(main())
