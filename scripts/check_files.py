"""Refuse files that must not enter the history: large ones, and ones that hold a secret.

Usage: `python scripts/check_files.py FILE...` (a git hook).
The patterns are those of keys that this project handles.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

MAX_BYTES = 500_000
SECRETS = {
    "a private key": re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "an age identity": re.compile(rb"AGE-SECRET-KEY-1[0-9A-Z]{50,}"),
    "an NKEY seed": re.compile(rb"\bS[UAONCX][A-Z2-7]{56}\b"),
    "an AWS access key": re.compile(rb"\b(AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a Slack token": re.compile(rb"\bxox[abprs]-[0-9A-Za-z-]{20,}"),
    "a password in an address": re.compile(rb"://[^/\s:@'\"{}<>$]{1,80}:(?!\*)[^/\s:@'\"{}<>$]{12,200}@"),
}


def find_mistakes(path: Path) -> list[str]:
    """Return one sentence for each reason to keep the file out; the secret itself is not repeated."""
    content = path.read_bytes()
    mistakes = []
    if len(content) > MAX_BYTES and path.name != "uv.lock":
        mistakes.append(f"{path}: {len(content)} bytes; files over {MAX_BYTES} do not belong into the history")
    for name, pattern in SECRETS.items():
        if found := pattern.search(content):
            line = content.count(b"\n", 0, found.start()) + 1
            mistakes.append(f"{path}:{line}: looks like {name}; configuration refers to secrets by env: or file:")
    return mistakes


def main(arguments: list[str]) -> int:
    """Check the files; return the exit status."""
    mistakes = [mistake for name in arguments for mistake in find_mistakes(Path(name))]
    print(*mistakes, sep="\n", file=sys.stderr, end="\n" if mistakes else "")
    return 1 if mistakes else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
