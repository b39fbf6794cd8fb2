"""What an earlier build wrote, this build reads: field by field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import inspect
from yaoki.testing.golden import ENUMERATIONS, TYPES, GoldenFiles, enumerations, shown_fields

DIRECTORY = Path(__file__).parent / "golden"
GOLDEN = GoldenFiles(DIRECTORY)
HOW = f"run `python -m yaoki.testing.golden {DIRECTORY}`, look at what it adds, and commit it"
BY_NAME = {kind.__name__: kind for kind in TYPES}
FILES = sorted(path for path in DIRECTORY.glob("*.json") if path.name != ENUMERATIONS)


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)
def test_every_field_of_every_type_has_been_recorded(kind: type) -> None:
    """What is not recorded could be taken away tomorrow without anybody noticing."""
    assert GOLDEN.of(kind), f"{kind.__name__} has no golden file: {HOW}"
    assert not GOLDEN.uncovered(kind), f"{kind.__name__} has new fields: {HOW}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_recorded_message_still_says_the_same(file: Path) -> None:
    """It decodes, no field of it is unknown now, and writing it again keeps every value."""
    name = file.stem.partition("-")[0]
    assert name in BY_NAME, f"{name} was removed or renamed; messages of it lie in streams: keep reading them"
    kind = BY_NAME[name]
    recorded = json.loads(file.read_bytes())

    decoded: Any = msgspec.json.decode(file.read_bytes(), type=kind)

    gone = [path for path, known in shown_fields(recorded, inspect.type_info(kind)) if not known]
    assert not gone, f"{name} lost {', '.join(gone)}; readers of old messages still need them"
    assert_keeps(recorded, json.loads(msgspec.json.encode(decoded)), name)


def test_no_value_of_an_enumeration_is_lost() -> None:
    """A value that was ever published has to be understood."""
    recorded = GOLDEN.recorded_enumerations()
    present = enumerations()

    lost = {name: sorted(set(values) - set(present.get(name, ()))) for name, values in recorded.items()}
    new = {name: sorted(set(values) - set(recorded.get(name, ()))) for name, values in present.items()}
    assert not any(lost.values()), f"values were removed: {lost}"
    assert not any(new.values()), f"values are not recorded: {new}; {HOW}"


def assert_keeps(recorded: Any, written: Any, path: str) -> None:
    """`written` has everything that `recorded` has; it may have more fields."""
    if isinstance(recorded, dict) and isinstance(written, dict):
        for key, value in recorded.items():
            assert key in written, f"{path}.{key} is lost when it is written again"
            assert_keeps(value, written[key], f"{path}.{key}")
    elif isinstance(recorded, list) and isinstance(written, list):
        assert len(recorded) == len(written), path
        for index, (old, new) in enumerate(zip(recorded, written, strict=True)):
            assert_keeps(old, new, f"{path}[{index}]")
    else:
        assert written == recorded, path


class Old(msgspec.Struct, frozen=True, kw_only=True):
    """A type as it was when it was recorded."""

    target: str
    failures: int


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """A field is gone."""

    target: str


class Retyped(msgspec.Struct, frozen=True, kw_only=True):
    """A field has another type."""

    target: str
    failures: str


class Demanding(msgspec.Struct, frozen=True, kw_only=True):
    """A field was added without a default."""

    target: str
    failures: int
    region: str


class Grown(msgspec.Struct, frozen=True, kw_only=True):
    """A field was added with a default: the one change that is allowed."""

    target: str
    failures: int
    region: str = ""


def test_the_checks_themselves_see_every_breaking_change() -> None:
    """Removed, retyped and demanded fields are found; a new one with a default is not held against the type."""
    recorded = msgspec.json.encode(Old(target="db", failures=3))

    gone = [path for path, known in shown_fields(json.loads(recorded), inspect.type_info(Removed)) if not known]
    assert gone == [".failures"]
    for broken in (Retyped, Demanding):
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(recorded, type=broken)
    grown = msgspec.json.decode(recorded, type=Grown)
    assert_keeps(json.loads(recorded), json.loads(msgspec.json.encode(grown)), "Grown")
    with pytest.raises(AssertionError, match="is lost"):
        assert_keeps(json.loads(recorded), {"target": "db"}, "Removed")


def test_missing_files_are_added_and_existing_ones_are_left(tmp_path: Path) -> None:
    """Even a file that no longer fits stays as it is: a person decides what became of its readers."""
    golden = GoldenFiles(tmp_path)
    assert len(golden.add_missing()) == len(TYPES) + 1
    assert golden.add_missing() == []
    old = tmp_path / "LeaseTaken.json"
    old.write_text('{"type": "LeaseTaken", "run_kind": "dr", "run_id": "r", "gone": 1}', encoding="utf-8")
    before = old.read_bytes()

    added = golden.add_missing()

    assert [path.name for path in added] == ["LeaseTaken-2.json"]
    assert old.read_bytes() == before
