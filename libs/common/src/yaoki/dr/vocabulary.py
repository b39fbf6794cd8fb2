"""The commands that a step may order: who carries each out, with what parameters, and what it waits for.

A new one is a struct and a line in `COMMANDS` here, and a handler in the service `dr-coordinator`.
"""

from typing import Annotated, Any

import msgspec

from yaoki.config.base import Section
from yaoki.config.forms import Duration
from yaoki.events.backup import BackupCompleted, BackupVerified, RestoreCompleted
from yaoki.events.probe import FailureType
from yaoki.events.runs import RunFinished

COORDINATOR = "dr"
"""The worker inside of the coordinator, which sends a step's command on and waits for what becomes of it."""

REPLY = "reply"
_DAY_S = 86_400.0


def _of(mapping: str) -> msgspec.Meta:
    return msgspec.Meta(min_length=1, extra={"of": mapping})


Target = Annotated[str, _of("targets")]
BackupTarget = Annotated[str, _of("backup.targets")]
Agent = Annotated[str, _of("agents")]
Text = Annotated[str, msgspec.Meta(min_length=1)]


class ChooseBackup(Section, frozen=True, kw_only=True):
    """Take the newest backup that may be restored; a clear refusal when there is none.

    Attributes:
        target: Name under `backup.targets`.
        max_age: Older ones are not taken.
        verified: Only one that was restored before; otherwise such a one is preferred.
        before: Only what shows a moment before this one, UTC as in `2026-01-31T09:30:00Z`; empty for the newest.
    """

    target: BackupTarget
    max_age: Duration = _DAY_S
    verified: bool = False
    before: str = ""


class TakeBackup(Section, frozen=True, kw_only=True):
    """Back a target up as it is now.

    Attributes:
        target: Name under `backup.targets`.
    """

    target: BackupTarget


class VerifyBackup(Section, frozen=True, kw_only=True):
    """Restore a backup into a throw-away place and compare its content with what was recorded.

    Attributes:
        target: Name under `backup.targets`.
        backup_id: Which one.
    """

    target: BackupTarget
    backup_id: Text


class RestoreBackup(Section, frozen=True, kw_only=True):
    """Restore a backup beside what is live, compare it, and exchange the two.

    Attributes:
        target: Name under `backup.targets`.
        backup_id: Which one.
        swap: Put the restored one in the place of the live one, which is kept under another name.
    """

    target: BackupTarget
    backup_id: Text
    swap: bool = True


class RunChain(Section, frozen=True, kw_only=True):
    """Have recovery run the chain of a failure type, or one action of it, and wait for the run's end.

    Attributes:
        target: Name under `targets`.
        failure_type: Chooses the chain.
        action: Only this action of the chain.
    """

    target: Target
    failure_type: FailureType
    action: str = ""


class Automation(Section, frozen=True, kw_only=True):
    """Keep recovery from acting by itself, or let it again.

    A pause that a person ordered stays as it is, and is not ended.

    Attributes:
        target: Name under `targets`; all when left out.
    """

    target: Annotated[str, msgspec.Meta(extra={"of": "targets"})] = ""


class CheckTarget(Section, frozen=True, kw_only=True):
    """Probe a target on a fresh connection; it has to be well. Unknown is not well.

    Attributes:
        target: Name under `targets`.
    """

    target: Target


class Maintenance(Section, frozen=True, kw_only=True):
    """Turn maintenance mode on or off. What somebody else turned on stays on.

    Attributes:
        scope: An application, or `all`.
    """

    scope: Text = "all"


class Confirm(Section, frozen=True, kw_only=True):
    """Wait for a person who has done something by hand.

    Attributes:
        ask: What the person has to do, and to confirm.
    """

    ask: Text


class AgentOrder(Section, frozen=True, kw_only=True):
    """An action of an agent's hands on its host, such as `process.restart` or `haproxy.drain`.

    Attributes:
        agent: Name under `agents`.
        action: Name of the hand.
        params: Of the hand.
    """

    agent: Agent
    action: Text
    params: dict[str, Any] = {}


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a command.

    Attributes:
        params: What it is given.
        awaits: Name of the event that says that it is done; `reply` when its answer does.
        to: The service that does the work.
        result: Fields that later steps may refer to; None when only its worker knows them.
    """

    params: type[Section]
    to: str
    awaits: str = REPLY
    result: frozenset[str] | None = frozenset()


def _fields(*names: str) -> frozenset[str]:
    return frozenset(names)


COMMANDS: dict[str, Command] = {
    "agent.order": Command(params=AgentOrder, to="agent", result=None),
    "backup.choose": Command(
        params=ChooseBackup, to="backup", result=_fields("backup_id", "consistent_at", "age_s", "verified", "rto_s")
    ),
    "backup.restore": Command(
        params=RestoreBackup,
        to="backup",
        awaits=RestoreCompleted.__name__,
        result=_fields("into", "kept", "restore_s", "verify_s", "rows"),
    ),
    "backup.take": Command(
        params=TakeBackup, to="backup", awaits=BackupCompleted.__name__, result=_fields("backup_id", "stored_bytes")
    ),
    "backup.verify": Command(params=VerifyBackup, to="backup", awaits=BackupVerified.__name__, result=_fields("rto_s")),
    "maintenance.off": Command(params=Maintenance, to="flags", result=_fields("on", "by")),
    "maintenance.on": Command(params=Maintenance, to="flags", result=_fields("on", "by")),
    "people.confirm": Command(params=Confirm, to="people", awaits="ApprovalGiven", result=_fields("by", "comment")),
    "probe.check": Command(params=CheckTarget, to="probe", result=_fields("status", "response_ms")),
    "recovery.pause": Command(params=Automation, to="recovery", result=_fields("by")),
    "recovery.resume": Command(params=Automation, to="recovery", result=_fields("by")),
    "recovery.run": Command(
        params=RunChain, to="recovery", awaits=RunFinished.__name__, result=_fields("run_id", "ending")
    ),
}
