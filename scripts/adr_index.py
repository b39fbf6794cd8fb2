"""Keep the index in docs/adr/README.md in step with the records beside it.

Usage: `python scripts/adr_index.py` writes the index; with `--check` it ends 1 when the index would change.
Either way a malformed record is named and ends 1.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "adr"
BEGIN, END = "<!-- index: begin (make docs) -->", "<!-- index: end -->"
FILE_NAME = re.compile(r"(\d{4})-[a-z0-9-]+\.md")
STATUSES = ("Proposed", "Accepted", "Superseded by", "Withdrawn")
HEADINGS = ("Problem", "Reason", "Decision", "Details", "Consequences and objections")


class Record(NamedTuple):
    """What the index says of one decision."""

    number: str
    file: str
    title: str
    status: str


class MalformedRecordError(Exception):
    """A record does not have the form of the template; the message says what is missing."""


def read_record(path: Path) -> Record:
    """Read one record.

    Raises:
        MalformedRecordError: The file name, title, status or a heading is not as in the template.
    """
    name = FILE_NAME.fullmatch(path.name)
    if name is None:
        raise MalformedRecordError(f"{path.name}: expected a name like 0042-what-was-decided.md")
    text = path.read_text(encoding="utf-8")
    title = re.match(rf"# {name[1]}: (.+)\n", text)
    if title is None:
        raise MalformedRecordError(f"{path.name}: expected the first line '# {name[1]}: <title>'")
    status = re.search(r"^Status: (.+)$", text, re.MULTILINE)
    if status is None or not status[1].startswith(STATUSES):
        raise MalformedRecordError(f"{path.name}: expected a line 'Status: ' with one of {', '.join(STATUSES)}")
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    if headings != list(HEADINGS):
        raise MalformedRecordError(f"{path.name}: expected the headings {', '.join(HEADINGS)}; found {headings}")
    return Record(name[1], path.name, title[1], status[1])


def read_records(folder: Path) -> list[Record]:
    """Read all records of a folder in order of their numbers, which have no gap and no double.

    Raises:
        MalformedRecordError: A record is malformed or misnumbered.
    """
    records = [
        read_record(path) for path in sorted(folder.glob("*.md")) if path.name not in {"README.md", "template.md"}
    ]
    for expected, record in enumerate(records, start=1):
        if int(record.number) != expected:
            raise MalformedRecordError(
                f"{record.file}: expected number {expected:04}; numbers have no gap and no double"
            )
    return records


def render(readme: str, records: list[Record]) -> str:
    """Return the README with a fresh index between its two marks.

    Raises:
        MalformedRecordError: The marks are missing.
    """
    head, begin, rest = readme.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise MalformedRecordError(f"README.md: expected the marks {BEGIN!r} and {END!r}")
    rows = [f"| [{record.number}]({record.file}) | {record.title} | {record.status} |" for record in records]
    return "\n".join([f"{head}{begin}", "", "| No. | Decision | Status |", "|---|---|---|", *rows, "", f"{end}{tail}"])


def main(arguments: list[str]) -> int:
    """Write or check the index; return the exit status."""
    readme = FOLDER / "README.md"
    found = readme.read_text(encoding="utf-8")
    try:
        wanted = render(found, read_records(FOLDER))
    except MalformedRecordError as exc:
        print(f"docs/adr: {exc}", file=sys.stderr)
        return 1
    if "--check" not in arguments:
        readme.write_text(wanted, encoding="utf-8")
    elif found != wanted:
        print("docs/adr/README.md: the index does not match the records; run `make docs`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
