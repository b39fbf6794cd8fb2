"""Changelog fragments: check that they are well-formed, or assemble them into CHANGELOG.md for a release.

Usage: `python scripts/changelog.py check` or `python scripts/changelog.py release 0.2.0`

A fragment is `changelog.d/<slug>.<section>.md`: one or more sentences in the user's words, saying in the past
tense what was wrong or missing, and in the present what happens now. With one file for each change, two
branches never conflict over the same line.
"""

from __future__ import annotations

import datetime as dt
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FRAGMENTS = ROOT / "changelog.d"
CHANGELOG = ROOT / "CHANGELOG.md"
SECTIONS = ("added", "changed", "deprecated", "removed", "fixed", "security")
FRAGMENT_NAME = re.compile(rf"[a-z0-9]+(-[a-z0-9]+)*\.({'|'.join(SECTIONS)})\.md")
MARKER = "<!-- releases: scripts/changelog.py writes below this line -->"
MAX_CHARACTERS = 600


def fragments(folder: Path) -> list[Path]:
    """Return every file that is meant to be a fragment, in a stable order."""
    return sorted(path for path in folder.iterdir() if path.name not in {"README.md", ".gitkeep"})


def find_mistakes(folder: Path) -> list[str]:
    """Return one sentence for each fragment that cannot go into a changelog."""
    mistakes = []
    for path in fragments(folder):
        text = path.read_text(encoding="utf-8").strip()
        if not FRAGMENT_NAME.fullmatch(path.name):
            mistakes.append(f"{path.name}: expected <slug>.<section>.md, section one of {', '.join(SECTIONS)}")
        elif not text:
            mistakes.append(f"{path.name}: is empty; expected a sentence for the user")
        elif text.startswith(("#", "-", "*")):
            mistakes.append(f"{path.name}: expected plain sentences, found a heading or list mark: {text[:30]!r}")
        elif len(text) > MAX_CHARACTERS:
            mistakes.append(f"{path.name}: {len(text)} characters; expected at most {MAX_CHARACTERS}")
        elif not text.endswith("."):
            mistakes.append(f"{path.name}: expected whole sentences, found no full stop at the end")
    return mistakes


def render_release(folder: Path, version: str, date: dt.date) -> str:
    """Return the Keep-a-Changelog section of one release, made of all fragments."""
    lines = [f"## [{version}] - {date.isoformat()}"]
    for section in SECTIONS:
        entries = [path for path in fragments(folder) if path.name.endswith(f".{section}.md")]
        if entries:
            lines += ["", f"### {section.capitalize()}", ""]
            lines += ["- " + " ".join(path.read_text(encoding="utf-8").split()) for path in entries]
    return "\n".join(lines) + "\n"


def release(folder: Path, changelog: Path, version: str, date: dt.date) -> None:
    """Move all fragments into the changelog, newest release first."""
    head, mark, rest = changelog.read_text(encoding="utf-8").partition(MARKER)
    if not mark:
        raise SystemExit(f"{changelog.name}: expected the line {MARKER!r}; put it back above the releases")
    section = render_release(folder, version, date)
    changelog.write_text(f"{head}{mark}\n\n{section}{rest}", encoding="utf-8")
    for path in fragments(folder):
        path.unlink()


def main(arguments: list[str]) -> int:
    """Run one command; return the exit status."""
    mistakes = find_mistakes(FRAGMENTS)
    match arguments:
        case _ if mistakes:
            print("changelog.d:", *mistakes, sep="\n  ", file=sys.stderr)
            return 1
        case ["check"]:
            print(f"changelog.d: {len(fragments(FRAGMENTS))} fragments, well-formed")
        case ["release", version]:
            release(FRAGMENTS, CHANGELOG, version, dt.datetime.now(dt.UTC).date())
        case _:
            print("usage: changelog.py check | changelog.py release <version>", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
