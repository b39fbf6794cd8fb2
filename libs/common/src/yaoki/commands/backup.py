"""What the backup service is asked and ordered: `api.backup.*`, `cmd.backup.*`."""

from datetime import datetime
from typing import Annotated, ClassVar, Literal

import msgspec

from yaoki.commands.base import Request


class BackupOrdered(msgspec.Struct, frozen=True, kw_only=True):
    """The order is stored and will be carried out.

    Attributes:
        order_id: Identity of the stored order.
        watch: A line to copy that shows it happening.
    """

    order_id: str
    watch: str


class TakeBackup(Request, frozen=True, kw_only=True):
    """Back a target up now.

    Attributes:
        target: Name under `backup.targets`.
        by: Who orders it.
        schedule: Set by the scheduler; people leave it out.
        order_id: Give one to make a repeat harmless; chosen by the service when left out.
    """

    service: ClassVar[str] = "backup"
    verb: ClassVar[str] = "take"
    reply: ClassVar[type[msgspec.Struct]] = BackupOrdered
    durable: ClassVar[bool] = True

    target: str
    by: Annotated[str, msgspec.Meta(min_length=1)]
    schedule: str = ""
    order_id: str = ""


class BackupView(msgspec.Struct, frozen=True, kw_only=True):
    """One backup that exists.

    Attributes:
        consistent_at: The moment that it shows, UTC.
        stored_bytes: In the repository.
        verified_at: When it was last restored and found right; None when never, or when it was found broken since.
        broken: Its newest verification that came to a verdict found it broken.
        rto_s: Measured by its newest successful verification, seconds.
        locked_until: The store keeps it until then, UTC.
    """

    backup_id: str
    target: str
    kind: str
    repository: str
    schedule: str = ""
    consistent_at: datetime
    completed_at: datetime
    plain_bytes: int
    stored_bytes: int
    tables: int = 0
    rows: int = 0
    verified_at: datetime | None = None
    broken: bool = False
    rto_s: float | None = None
    locked_until: datetime | None = None
    warnings: tuple[str, ...] = ()


class BackupList(msgspec.Struct, frozen=True, kw_only=True):
    """Backups by the moment that each shows, read from the repository itself.

    Attributes:
        problems: What looks like a backup and cannot be read, one sentence each.
    """

    backups: tuple[BackupView, ...]
    problems: tuple[str, ...] = ()


class ListBackups(Request, frozen=True, kw_only=True):
    """Every backup of a target.

    Attributes:
        target: Name under `backup.targets`.
    """

    service: ClassVar[str] = "backup"
    verb: ClassVar[str] = "list"
    reply: ClassVar[type[msgspec.Struct]] = BackupList

    target: str


class VerifyBackup(Request, frozen=True, kw_only=True):
    """Restore a backup into a throw-away place and compare its content with what was recorded.

    Attributes:
        target: Name under `backup.targets`.
        backup_id: Which one; the newest when left out.
        by: Who orders it.
        order_id: Give one to make a repeat harmless; chosen by the service when left out.
    """

    service: ClassVar[str] = "backup"
    verb: ClassVar[str] = "verify"
    reply: ClassVar[type[msgspec.Struct]] = BackupOrdered
    durable: ClassVar[bool] = True

    target: str
    backup_id: str = ""
    by: Annotated[str, msgspec.Meta(min_length=1)]
    order_id: str = ""


class RestoreBackup(Request, frozen=True, kw_only=True):
    """Restore a backup beside what is live, compare it, and exchange the two if that is asked for.

    Attributes:
        target: Name under `backup.targets`.
        backup_id: Which one.
        confirm: `<target>/<backup id>`, typed once more: what is restored where is not left to a slip.
        swap: Put the restored one in the place of the live one; that one is kept under another name.
        owners: Give every object its owner.
        privileges: Grant what was granted.
        by: Who orders it.
        order_id: Give one to make a repeat harmless; chosen by the service when left out.
    """

    service: ClassVar[str] = "backup"
    verb: ClassVar[str] = "restore"
    reply: ClassVar[type[msgspec.Struct]] = BackupOrdered
    durable: ClassVar[bool] = True

    target: str
    backup_id: str
    confirm: str
    swap: bool = False
    owners: bool = True
    privileges: bool = True
    by: Annotated[str, msgspec.Meta(min_length=1)]
    order_id: str = ""


class RetentionVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one backup, and why.

    Attributes:
        reasons: Each is enough to keep it; for one that goes, why nothing keeps it.
    """

    backup_id: str
    verdict: Literal["keep", "delete"]
    reasons: tuple[str, ...]
    consistent_at: datetime
    stored_bytes: int


class RetentionPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What retention would do now; nothing is deleted by asking."""

    target: str
    verdicts: tuple[RetentionVerdict, ...]


class PlanRetention(Request, frozen=True, kw_only=True):
    """What the rules of retention would keep and delete now, with a reason for each.

    Attributes:
        target: Name under `backup.targets`.
    """

    service: ClassVar[str] = "backup"
    verb: ClassVar[str] = "retention"
    reply: ClassVar[type[msgspec.Struct]] = RetentionPlan

    target: str
