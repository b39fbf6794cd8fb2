"""Hold a commit message to the project's form: a conventional subject, and a body that says cause and effect.

Usage: `python scripts/check_commit_message.py FILE` (the commit-msg hook of git).
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

TYPES = ("feat", "fix", "perf", "refactor", "test", "docs", "build", "ci", "chore", "revert")
SUBJECT = re.compile(rf"({'|'.join(TYPES)})(\([a-z0-9-]+\))?!?: [^\sA-Z].*[^.\s]")
MAX_SUBJECT = 72


def find_mistakes(message: str) -> list[str]:
    """Return one sentence for each thing wrong with a commit message; merges and fixups pass."""
    lines = [line for line in message.splitlines() if not line.startswith("#")]
    subject = lines[0] if lines else ""
    if subject.startswith(("Merge ", "Revert ", "fixup! ", "squash! ")):
        return []
    mistakes = []
    if not SUBJECT.fullmatch(subject):
        mistakes.append(
            f"subject {subject!r}: expected 'type(scope): what it does', lower case, no full stop; "
            f"type one of {', '.join(TYPES)}"
        )
    if len(subject) > MAX_SUBJECT:
        mistakes.append(f"subject has {len(subject)} characters; expected at most {MAX_SUBJECT}")
    if len(lines) > 1 and lines[1]:
        mistakes.append("expected an empty line between subject and body")
    return mistakes


def main(arguments: list[str]) -> int:
    """Check the message in the file; return the exit status."""
    mistakes = find_mistakes(Path(arguments[0]).read_text(encoding="utf-8"))
    for mistake in mistakes:
        print(f"commit message: {mistake}", file=sys.stderr)
    return 1 if mistakes else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
