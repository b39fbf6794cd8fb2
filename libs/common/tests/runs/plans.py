"""Plans of every shape, and how they end when nothing goes wrong but what their steps are told to do."""

from __future__ import annotations

from typing import Any

import msgspec
from yaoki.events.runs import Ending
from yaoki.plans import Branch, Call, Plan, Step, StepKind
from yaoki.runs import StartRun

RUN = "run-1"
ALWAYS = 1_000


def call(worker: str = "host-a", **params: Any) -> Call:
    """An order to the simulated action; the parameters say how it goes."""
    return Call(worker=worker, action="act", params=params)


def step(name: str, *, worker: str = "host-a", undoing: dict[str, Any] | None = None, **more: Any) -> Step:
    """A step that can be undone, unless it only goes forward. Parameters of the action go first."""
    params = {key: more.pop(key) for key in ("fails", "refuses", "skips", "takes_s", "answers") if key in more}
    undo = None if more.get("kind") is StepKind.FORWARD else call(worker, **(undoing or {}))
    more.setdefault("undo", undo)
    return Step(id=name, do=call(worker, **params), **more)


def one(*steps: Step, **more: Any) -> Plan:
    """A plain saga."""
    return Plan(name="saga", branches=(Branch(name="main", steps=steps, **more),))


def chain(*branches: Branch, on_exhausted: tuple[Step, ...] = ()) -> Plan:
    """Alternatives."""
    return Plan(name="chain", branches=branches, on_exhausted=on_exhausted)


def start(plan: Plan, **more: Any) -> StartRun:
    """Start it."""
    return StartRun(**{"run_kind": "recovery", "run_id": RUN, "resource": "orders", "plan": plan, **more})


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """A plan with its end.

    Attributes:
        ending: How it ends without faults.
        standing: Steps whose effect is in the world then.
        other_endings: What a fault may legally turn the ending into, none for most plans.
    """

    name: str
    plan: Plan
    ending: Ending
    standing: frozenset[str]


SHAPES: tuple[Shape, ...] = (
    Shape(
        name="ten steps",
        plan=one(*(step(f"s{n}", worker="local" if n % 3 == 0 else "host-a") for n in range(10))),
        ending=Ending.COMPLETED,
        standing=frozenset(f"s{n}" for n in range(10)),
    ),
    Shape(
        name="saga that is compensated",
        plan=one(step("a"), step("b", worker="host-b"), step("c"), step("d", fails=ALWAYS)),
        ending=Ending.ROLLED_BACK,
        standing=frozenset(),
    ),
    Shape(
        name="compensation that fails",
        plan=one(
            step("a"),
            step("b", undo_attempts=2, retry_delay_s=0.1, undoing={"fails": ALWAYS}),
            step("c", fails=ALWAYS),
        ),
        ending=Ending.ROLLBACK_FAILED,
        standing=frozenset({"b"}),
    ),
    Shape(
        name="failure past the pivot",
        plan=one(
            step("a"),
            step("b", kind=StepKind.PIVOT),
            step("c", kind=StepKind.FORWARD, attempts=2, retry_delay_s=0.1, fails=ALWAYS),
        ),
        ending=Ending.FAILED_NO_ROLLBACK,
        standing=frozenset({"a", "b", "c"}),
    ),
    Shape(
        name="pivot that fails",
        plan=one(step("a"), step("b", kind=StepKind.PIVOT, fails=ALWAYS), step("c")),
        ending=Ending.ROLLED_BACK,
        standing=frozenset(),
    ),
    Shape(
        name="alternatives",
        plan=chain(
            Branch(name="first", steps=(step("a"),), verify=call("local", fails=ALWAYS), verify_timeout_s=3.0),
            Branch(name="second", steps=(step("b"), step("c")), verify=call("local"), delay_s=5.0),
        ),
        ending=Ending.COMPLETED,
        standing=frozenset({"b", "c"}),
    ),
    Shape(
        name="skipped alternative",
        plan=chain(
            Branch(name="first", steps=(step("a", skips=True),)),
            Branch(name="second", steps=(step("b"),), delay_s=60.0),
        ),
        ending=Ending.COMPLETED,
        standing=frozenset({"b"}),
    ),
    Shape(
        name="exhausted",
        plan=chain(
            Branch(name="first", steps=(step("a", fails=ALWAYS),)),
            Branch(name="second", steps=(step("b", fails=ALWAYS),), delay_s=2.0),
            on_exhausted=(step("page", undo=None, fails=ALWAYS), step("maintenance", undo=None)),
        ),
        ending=Ending.EXHAUSTED,
        standing=frozenset({"page", "maintenance"}),
    ),
    Shape(
        name="parallel group",
        plan=one(
            step("a"),
            *(step(f"g{n}", worker=f"host-{'ab'[n % 2]}", group="wide") for n in range(4)),
            step("z", fails=ALWAYS),
        ),
        ending=Ending.ROLLED_BACK,
        standing=frozenset(),
    ),
    Shape(
        name="retries, checks and optional steps",
        plan=one(
            step("a", required=False, refuses=True),
            step("b", verify=call("local"), attempts=3, retry_delay_s=0.5, fails=1),
            step("c", required=False, fails=ALWAYS),
            verify=call("host-b"),
        ),
        ending=Ending.COMPLETED,
        standing=frozenset({"b", "c"}),
    ),
)
