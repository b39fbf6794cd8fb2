"""What a run is started with."""

from __future__ import annotations

import msgspec

from yaoki.events.runs import RunStarted
from yaoki.plans import JsonObject, Plan  # noqa: TC001 - msgspec reads the annotation at run time
from yaoki.runs.plan_check import check_plan
from yaoki.subjects import token


class StartRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run to start.

    Attributes:
        run_kind: `recovery`, `backup` or `dr`: context of its journal.
        run_id: Chosen so that a repeat of its cause gives the same one.
        resource: What it works on; at most one unfinished run holds a resource.
        plan: Stored whole in the run's first entry.
        incident_id: The failure that caused it, if one did.
        started_by: `policy`, or the person who ordered it.
        reason: One sentence.
        facts: What the plan refers to as `${run.<name>}`.
    """

    run_kind: str
    run_id: str
    resource: str
    plan: Plan
    incident_id: str | None = None
    started_by: str = "policy"
    reason: str = ""
    facts: JsonObject = {}

    def entry(self) -> RunStarted:
        """The first entry of the run's journal.

        Raises:
            RejectedError: Names every mistake of the plan, or the name that cannot stand in a subject.
        """
        token(self.run_kind, "run kind")
        token(self.run_id, "run id")
        token(self.resource, "resource")
        check_plan(self.plan, self.facts)
        return RunStarted(
            run_kind=self.run_kind,
            run_id=self.run_id,
            resource=self.resource,
            plan=self.plan,
            plan_hash=self.plan.digest(),
            incident_id=self.incident_id,
            started_by=self.started_by,
            reason=self.reason,
            facts=self.facts,
        )
