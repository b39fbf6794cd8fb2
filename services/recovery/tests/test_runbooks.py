"""What people read at 3 a.m. is what the system does: each page is compared with the chains, steps and requests."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest
from recovery.chains import SPARES_USERS, plan_for
from yaoki.commands import REQUESTS
from yaoki.config import DEFAULT_CHAINS, Address, RedisGroup, Sentinels
from yaoki.events.probe import FailureType
from yaoki.plans import GOAL_STEP, Plan

from .test_default_chains import everything

RUNBOOKS = Path(__file__).parents[3] / "docs/runbooks"
ORDERED = re.compile(r"^\d+\. `([a-z-]+)`", re.MULTILINE)
ROW = re.compile(r"^\| `([a-z0-9-]+)` (?:failed|skipped|refused|succeeded|unknown)", re.MULTILINE)
REQUEST = re.compile(r"^nats req yaoki\.api\.([a-z<>-]+)\.([a-z-]+) '(.*)'$", re.MULTILINE)
TARGETS = ("orders-db", "orders-db-replica", "orders-cache", "orders-api", "web1-disk", "payments")
BY_SUBJECT = {(kind.service, kind.verb): kind for kind in REQUESTS}


def page(failure_type: FailureType) -> str:
    return (RUNBOOKS / f"{failure_type.value}.md").read_text(encoding="utf-8")


def steps() -> set[str]:
    """Every step that a default chain can have, with agents or with Sentinel, and what stands in a run besides."""
    base = everything()
    sentinel = RedisGroup(sentinel=Sentinels(addresses=(Address("127.0.0.1", 26379),), master="cache"))
    found = {GOAL_STEP, *(f"{link.action}-not-applicable" for chain in DEFAULT_CHAINS.values() for link in chain)}
    for settings in (base, msgspec.structs.replace(base, redis_groups={"cache": sentinel})):
        for failure_type in DEFAULT_CHAINS:
            for target in TARGETS:
                plan = plan_for(settings, target, failure_type, recheck=True)
                branches = plan.branches if isinstance(plan, Plan) else ()
                found |= {step.id for branch in branches for step in branch.steps}
    return found


@pytest.mark.parametrize("failure_type", FailureType)
def test_a_page_names_the_actions_of_the_default_chain_in_their_order(failure_type: FailureType) -> None:
    """After the look whether the failure is still there; nothing at all where people are called at once."""
    chain = [link.action for link in DEFAULT_CHAINS.get(failure_type, ())]

    assert ORDERED.findall(page(failure_type)) == (["recheck", *chain] if chain else [])


@pytest.mark.parametrize("failure_type", FailureType)
def test_a_page_says_whether_users_are_shown_a_maintenance_page(failure_type: FailureType) -> None:
    """As the last steps of its plan do."""
    text = page(failure_type)

    assert "`escalated-to-human`" in text or DEFAULT_CHAINS[failure_type][-1].action == "notify"
    if failure_type in SPARES_USERS:
        assert "maintenance mode stays off" in text
    elif failure_type in DEFAULT_CHAINS:
        assert "aintenance mode" in text
        assert "503" in text


def test_the_steps_in_the_tables_are_steps_of_a_chain() -> None:
    """Whoever looks one up in a run has to find it there."""
    known = steps()
    named = {name for failure_type in FailureType for name in ROW.findall(page(failure_type))}

    assert len(named) > 20
    assert named <= known


@pytest.mark.parametrize("path", sorted(RUNBOOKS.glob("*.md")), ids=lambda path: path.name)
def test_requests_to_copy_are_requests_that_exist(path: Path) -> None:
    """With the fields that they have; a name in angle brackets stands for any text."""
    for service, verb, body in REQUEST.findall(path.read_text(encoding="utf-8")):
        kind = BY_SUBJECT.get((service, verb)) or BY_SUBJECT.get(("", verb))
        assert kind is not None, f"{path.name}: nobody answers yaoki.api.{service}.{verb}"
        fields = json.loads(body)
        assert set(fields) <= set(kind.__struct_fields__), f"{path.name}: {kind.__name__} has no such field"
        msgspec.convert(fields, kind, strict=True)


def test_every_page_stands_in_the_index() -> None:
    """And the index names no page that is gone."""
    index = (RUNBOOKS / "README.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\]\(([a-z_-]+\.md)\)", index))

    assert linked == {path.name for path in RUNBOOKS.glob("*.md")} - {"README.md"}
