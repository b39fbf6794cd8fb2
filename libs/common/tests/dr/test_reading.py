"""Plans as people write them: every mistake at once, includes, parameters, versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from yaoki.dr import PlanErrors, PlanLibrary
from yaoki.errors import RejectedError
from yaoki.plans import StepKind

if TYPE_CHECKING:
    from pathlib import Path

    from yaoki.dr import DrPlan

STEP = "{id: a, do: maintenance.on, timeout: 1m, estimated: 10s}"
PLAN = f"name: own\ntitle: One of our own.\nsteps:\n  - {STEP}\n"


@pytest.fixture
def write(tmp_path: Path) -> Library:
    return Library(tmp_path)


class Library:
    """A folder of plans."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, name: str, text: str) -> None:
        file = self.folder / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def load(self, name: str = "own", **parameters: str) -> DrPlan:
        return PlanLibrary(self.folder).load(name, parameters)

    def mistakes(self, text: str, **parameters: str) -> list[str]:
        self("own.yaml", text)
        with pytest.raises(PlanErrors) as raised:
            self.load(**parameters)
        return [str(one.mistake) for one in raised.value.mistakes]


def test_every_mistake_is_said_at_once_with_its_place(write: Library) -> None:
    """Path, what was found, what was expected, line; not only the first."""
    found = write.mistakes(
        """\
name: other
title: A plan full of mistakes.
severity: terrible
retries: 3
steps:
  - {id: a, do: backup.tak, timeout: 1m, estimated: 10s}
  - {id: a, do: {command: backup.take, params: {targt: x}}, timeout: soon, estimated: 10s}
  - {id: b, do: {command: probe.check, params: {target: "${nobody.x}"}}, timeout: 1m, estimated: 2m}
  - {id: run, do: recovery.run, timeout: 1m, estimated: 1s, kind: forward, undo: maintenance.on}
  - parallel:
      - {id: c, do: maintenance.on, timeout: 1m, estimated: 1s, approval: really, awaits: BackupCompleted}
"""
    )

    assert [line for line in found if "terrible" in line] == [
        "line 3: severity: found 'terrible', expected critical, high, medium or low"
    ]
    text = "\n".join(found)
    for part in (
        "line 4: retries: found an unknown key",
        "line 6: steps[0].do.command: found 'backup.tak', expected a command: ",
        "(did you mean 'backup.take'?)",
        "line 7: steps[1].timeout: found 'soon', expected a duration",
        "steps[4].parallel: found 1 of them, expected a list of at least two steps",
    ):
        assert part in text


def test_what_only_makes_sense_together_is_checked_together(write: Library) -> None:
    """References, names and the order of steps."""
    found = "\n".join(
        write.mistakes(
            """\
name: own
title: A plan whose parts do not fit.
resource: "not a name"
steps:
  - {id: a, do: {command: backup.take, params: {targt: x}}, timeout: 1m, estimated: 10s}
  - {id: a, do: {command: probe.check, params: {target: "${nobody.x}"}}, timeout: 1m, estimated: 2m}
  - {id: run, do: recovery.run, timeout: 1m, estimated: 1s, kind: forward, undo: maintenance.on, effect: once}
  - {id: take, do: {command: backup.take, params: {target: x}}, timeout: 1m, estimated: 1s, awaits: reply}
  - parallel:
      - {id: c, do: maintenance.on, timeout: 1m, estimated: 1s, approval: really}
      - {id: d, do: {command: probe.check, params: {target: "${c.on}"}}, timeout: 1m, estimated: 1s}
  - {id: e, do: {command: probe.check, params: {target: "${take.nothing} ${run.moon}"}}, timeout: 1m, estimated: 1s}
"""
        )
    )

    for part in (
        "resource: found 'not a name'",
        "steps[0].do.params.targt: found an unknown key",
        "steps[0].do.params.target: found nothing",
        "steps[1].id: found 'a' a second time (first in own.yaml)",
        "steps[1].do.params: found '${nobody.x}', expected an earlier step: a",
        "steps[1].estimated: found 120 s, expected at most the timeout, 60 s",
        "steps[2].id: found 'run', expected another name",
        "steps[2].do.params: found nothing, expected a mapping with target, failure_type",
        "steps[2].undo: found a command, expected nothing",
        "steps[2].effect: found 'once', expected idempotent",
        "steps[3].awaits: found 'reply', expected BackupCompleted, which ends backup.take",
        "steps[4].parallel[0].approval: found a question, expected it at a step before the parallel ones",
        "steps[4].parallel[1].do.params: found '${c.on}', expected an earlier step",
        "steps[5].do.params: found '${take.nothing}', expected a result of backup.take: backup_id or stored_bytes",
        "steps[5].do.params: found '${run.moon}', expected a fact of the run",
    ):
        assert part in found


def test_includes_stand_in_the_place_of_their_steps(write: Library) -> None:
    """With values of their own."""
    write("own.yaml", PLAN + "  - {include: parts/b.yaml, params: {scope: shop, id: b}}\n  - {include: parts/c.yaml}\n")
    write(
        "parts/b.yaml",
        "parameters: {scope: {description: What, example: x}, id: {description: Name, example: x}}\n"
        "steps:\n  - {id: '${param.id}', do: {command: maintenance.on, params: {scope: '${param.scope}'}},"
        " timeout: 1m, estimated: 1s}\n",
    )
    write("parts/c.yaml", "steps:\n  - {id: c, do: maintenance.off, timeout: 1m, estimated: 1s}\n")

    plan = write.load()

    assert [(step.id, step.do.params) for step in plan.steps] == [("a", {}), ("b", {"scope": "shop"}), ("c", {})]


def test_mistakes_in_an_include_name_its_file(write: Library) -> None:
    """And a fragment that includes itself is one."""
    write(
        "own.yaml", PLAN + "  - {include: parts/b.yaml}\n  - {include: ../etc.yaml}\n  - {include: parts/gone.yaml}\n"
    )
    write(
        "parts/b.yaml", "steps:\n  - {id: b, do: nonsense, timeout: 1m, estimated: 1s}\n  - {include: parts/b.yaml}\n"
    )

    with pytest.raises(PlanErrors) as raised:
        write.load()

    files = [(one.file, one.mistake.path) for one in raised.value.mistakes]
    assert files == [
        ("own.yaml", "steps[2].include"),
        ("own.yaml", "steps[3].include"),
        ("parts/b.yaml", "steps[0].do.command"),
        ("parts/b.yaml", "steps[1].include"),
    ]


def test_parameters_are_filled_in_and_checked(write: Library) -> None:
    """Unknown ones, missing ones, and a default."""
    text = """\
name: own
title: With parameters.
resource: ${param.database}
parameters:
  database: {description: The database., example: orders-db}
  scope: {description: What stands still, default: all}
steps:
  - {id: a, do: {command: maintenance.on, params: {scope: "app-${param.scope}"}}, timeout: 1m, estimated: 1s}
"""
    write("own.yaml", text)

    plan = write.load(database="shop-db")
    assert (plan.resource, plan.steps[0].do.params) == ("shop-db", {"scope": "app-all"})
    assert PlanLibrary(write.folder).load("own", examples=True).examples == ("database",)
    assert write.mistakes(text, databse="x") == [
        "params.database: found nothing, expected a value, there is no default (The database)",
        "params.databse: found an unknown parameter, expected database or scope (did you mean 'database'?)",
    ]
    assert "expected a parameter of this file: database or scope" in "".join(
        write.mistakes(text.replace("param.scope", "param.scop"), database="x")
    )


@pytest.mark.parametrize(
    "text",
    ["", "- a\n", "name: [", "name: own\nname: own\n", "a: &a [*a]\n", "name: own\ntitle: x\nsteps: []\n", "\x00"],
    ids=repr,
)
def test_a_broken_file_is_a_mistake_and_no_crash(write: Library, text: str) -> None:
    """Whatever stands in it."""
    assert write.mistakes(text)


def test_the_version_follows_every_text_and_the_hash_what_is_run(write: Library) -> None:
    """A comment in a fragment makes another version; only what is ordered makes another hash."""
    write("own.yaml", PLAN + "  - {include: parts/b.yaml}\n")
    write("parts/b.yaml", "steps:\n  - {id: b, do: maintenance.off, timeout: 1m, estimated: 1s}\n")
    first = write.load()
    write("parts/b.yaml", "# seen by ann\nsteps:\n  - {id: b, do: maintenance.off, timeout: 1m, estimated: 1s}\n")
    commented = write.load()
    write("parts/b.yaml", "steps:\n  - {id: b, do: maintenance.off, timeout: 2m, estimated: 1s}\n")
    slower = write.load()

    assert len({first.version, commented.version, slower.version}) == 3
    assert first.plan.digest() == commented.plan.digest() != slower.plan.digest()


def test_an_approval_is_a_step_of_its_own_before(write: Library) -> None:
    """It waits for a person under the hash of the whole plan."""
    write("own.yaml", PLAN.replace("estimated: 10s", "estimated: 10s, kind: pivot, approval: really"))

    plan = write.load()

    assert [(step.id, step.do.action, step.kind) for step in plan.steps] == [
        ("approve-a", "people.confirm", StepKind.COMPENSABLE),
        ("a", "maintenance.on", StepKind.PIVOT),
    ]
    assert plan.approvals == ("a",)


def test_an_own_plan_goes_before_the_built_in_one(write: Library) -> None:
    """And unknown names are answered with what there is."""
    write("unknown.yaml", PLAN.replace("name: own", "name: unknown"))

    assert write.load("unknown").title == "One of our own."
    with pytest.raises(RejectedError, match="did you mean 'cyber_attack'"):
        write.load("cyber_atack")
