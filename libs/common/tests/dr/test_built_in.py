"""The plans that Yaoki brings."""

from __future__ import annotations

import json
from importlib import resources

import jsonschema
import pytest
import yaml
from yaoki.disasters import DisasterClass
from yaoki.docs.plans import plan_schema
from yaoki.dr import DrPlan, PlanLibrary
from yaoki.dr.checking import FACTS
from yaoki.dr.compiling import estimated_s
from yaoki.dr.mermaid import picture
from yaoki.plans import Call, Step, StepKind
from yaoki.runs.plan_check import check_plan

LIBRARY = PlanLibrary()
FILES = resources.files("yaoki.dr") / "builtin"
MINUTE_S = 60.0


@pytest.fixture(params=LIBRARY.names())
def plan(request: pytest.FixtureRequest) -> DrPlan:
    """Each in turn."""
    return LIBRARY.load(request.param, examples=True)


def test_there_is_one_for_every_class_and_the_plan_of_the_whole_system() -> None:
    plans = [LIBRARY.load(name, examples=True) for name in LIBRARY.names()]

    assert sorted(plan.answers for plan in plans if plan.answers) == sorted(DisasterClass)
    assert [plan.name for plan in plans if plan.answers is None] == ["default_system"]


def test_each_can_be_run_and_promises_no_more_than_it_can_keep(plan: DrPlan) -> None:
    """The executor takes it, and the estimate is within the recovery time of its severity."""
    check_plan(plan.plan, dict.fromkeys(FACTS, ""))

    assert plan.estimated_s <= plan.objectives.rto_s


def test_nothing_is_exchanged_before_a_person_agrees_unless_nothing_is_left(plan: DrPlan) -> None:
    swaps = [step.id for step in plan.steps if step.do.action == "backup.restore" and step.do.params.get("swap", True)]

    assert plan.name == "complete_system_failure" or set(swaps) <= set(plan.approvals)


def test_the_database_plan_is_the_one_that_is_required() -> None:
    """Five steps of 5, 10, 60, 30 and 15 minutes; the third cannot be taken back, nor the fourth."""
    plan = LIBRARY.load("database_corruption", {"database": "orders-db", "backup": "orders"})
    steps = {step.id: step for step in plan.steps}
    names = ["stop-database-service", "isolate-corrupted-data", "restore-from-backup", "verify-integrity"]
    five = [steps[name] for name in [*names, "restart-services"]]

    assert [(step.estimated_s or 0.0) / MINUTE_S for step in five] == [5, 10, 60, 30, 15]
    assert [step.undo is not None for step in five] == [True, True, False, False, True]
    assert [step.kind for step in five][2:4] == [StepKind.PIVOT, StepKind.FORWARD]
    assert plan.estimated_s == 120 * MINUTE_S


def test_the_plan_of_the_whole_system_has_the_required_order() -> None:
    plan = LIBRARY.load("default_system", examples=True)
    order = [step.id for step in plan.steps]
    required = [
        "stop-application",
        "back-up-current-state",
        "restore-configuration",
        "restore-database",
        "clear-cache",
        "start-application",
    ]

    assert [step for step in order if step in required] == required


def test_steps_at_the_same_time_take_as_long_as_the_longest() -> None:
    do = Call(worker="dr", action="maintenance.on")
    times = [("a", "", 5.0), ("b", "g", 10.0), ("c", "g", 3.0), ("d", "h", 2.0), ("e", "h", 4.0), ("f", "", 1.0)]

    assert estimated_s(tuple(Step(id=i, do=do, group=g, estimated_s=s) for i, g, s in times)) == 20.0


def test_the_picture_shows_every_step_and_every_way_back(plan: DrPlan) -> None:
    drawn = picture(plan)

    for step in plan.steps:
        node = f"s_{step.id.replace('-', '_')}"
        assert f"--> {node}\n" in drawn
        assert (f"{node} -.-> " in drawn) == (step.undo is not None)
        assert (f"{node}{{{{" in drawn) == (step.kind is StepKind.PIVOT)


def test_the_schema_accepts_every_file_and_refuses_what_the_reader_refuses() -> None:
    """An editor underlines nothing that is right."""
    validator = jsonschema.Draft202012Validator(json.loads(plan_schema()))
    files = [file for folder in (FILES, FILES / "fragments") for file in folder.iterdir() if file.is_file()]
    documents = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in files]
    assert len(documents) > len(LIBRARY.names())

    for document in documents:
        validator.validate(document)
        document["steps"][0]["tiemout"] = "1m"
        assert not validator.is_valid(document)
