"""Facts about backups, their verification and restores."""

from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from yaoki.events.base import Event


class BackupFailureClass(StrEnum):
    """Why a backup, a restore or a verification failed."""

    AUTHENTICATION = "authentication"
    CONNECTION = "connection"
    CAPACITY = "capacity"
    SOURCE = "source"
    STORAGE = "storage"
    VERIFICATION = "verification"
    CANCELLED = "cancelled"


class VerificationStage(StrEnum):
    """What is looked at, in this order; a verification stops at the first that fails."""

    STORED_BYTES = "stored-bytes"
    ENCRYPTION = "encryption"
    COMPRESSION = "compression"
    STRUCTURE = "structure"
    RESTORE = "restore"
    CONTENT = "content"
    ASSERTIONS = "assertions"


class BackupEvent(Event, frozen=True, kw_only=True):
    """Something about one backup.

    Attributes:
        backup_id: UTC time and randomness; sorts by time.
        target: Name of what is backed up, in the configuration.
        kind: Of the source, e.g. `postgres-logical`.
        repository: Name of where it is stored.
    """

    context: ClassVar[str] = "backup"
    entity_field: ClassVar[str] = "backup_id"

    backup_id: str
    target: str
    kind: str
    repository: str


class BackupStarted(BackupEvent, frozen=True, kw_only=True):
    """A backup is being taken. It does not exist before `BackupCompleted`.

    Attributes:
        schedule: Of the configuration; empty when somebody asked for it.
        by: Who asked for it; empty for a schedule.
        instance: Process that takes it.
    """

    schedule: str = ""
    by: str = ""
    instance: str
    started_at: datetime


class BackupProgress(BackupEvent, frozen=True, kw_only=True):
    """How far a backup is. Said on `live.backup.<backup id>`, not stored.

    Attributes:
        stored_bytes: Uploaded so far.
    """

    stored_bytes: int
    at: datetime


class BackupCompleted(BackupEvent, frozen=True, kw_only=True):
    """The manifest is written: the backup exists.

    Attributes:
        started_at: Begin of the work.
        consistent_at: The moment that it shows.
        duration_s: Seconds.
        plain_bytes: Read from the source.
        stored_bytes: In the repository.
        tables: How many; 0 for what has none.
        rows: In all tables together.
        rpo_achieved_s: From the moment that the backup before shows to this one, seconds: what a loss just before this
            one would have cost. None for the first.
    """

    started_at: datetime
    consistent_at: datetime
    completed_at: datetime
    duration_s: float
    plain_bytes: int
    stored_bytes: int
    tables: int = 0
    rows: int = 0
    rpo_achieved_s: float | None = None


class BackupFailed(BackupEvent, frozen=True, kw_only=True):
    """The backup does not exist; those before are untouched.

    Attributes:
        failure: Why.
        message: What was found and expected.
        advice: What to do.
    """

    failure: BackupFailureClass
    message: str
    advice: str
    failed_at: datetime


class BackupSkipped(BackupEvent, frozen=True, kw_only=True):
    """A schedule was due while the backup before was still being taken; nothing was begun.

    Attributes:
        backup_id: Of the one that would overlap.
        due_at: When it was due.
    """

    schedule: str
    due_at: datetime


class BackupExpired(BackupEvent, frozen=True, kw_only=True):
    """A backup was deleted by the rules of retention.

    Attributes:
        reason: The rule.
        stored_bytes: That were freed.
    """

    reason: str
    stored_bytes: int
    expired_at: datetime


class BackupVerified(BackupEvent, frozen=True, kw_only=True):
    """A backup was restored into a throw-away place, and its content is the one that was recorded.

    Attributes:
        stages: All that passed, in order.
        rto_s: Measured: seconds from nothing to a restored and checked copy.
        verify_s: Seconds of the whole verification.
    """

    stages: tuple[VerificationStage, ...]
    rto_s: float
    verify_s: float
    tables: int = 0
    rows: int = 0
    verified_at: datetime


class BackupVerificationFailed(BackupEvent, frozen=True, kw_only=True):
    """A backup cannot be trusted, or could not be verified.

    Attributes:
        stage: The first that failed.
        conclusive: The backup itself is at fault. False: the verification could not be carried out.
    """

    stage: VerificationStage
    conclusive: bool
    failure: BackupFailureClass
    message: str
    advice: str
    failed_at: datetime


class RestoreEvent(Event, frozen=True, kw_only=True):
    """Something about one restore.

    Attributes:
        restore_id: Of the run.
        backup_id: What is restored.
        target: What it was taken of.
    """

    context: ClassVar[str] = "backup"
    entity_field: ClassVar[str] = "restore_id"

    restore_id: str
    backup_id: str
    target: str
    repository: str


class RestoreStarted(RestoreEvent, frozen=True, kw_only=True):
    """A restore has begun, beside what is live.

    Attributes:
        by: Who confirmed it.
        into: Name of the new database or directory.
    """

    by: str
    into: str
    started_at: datetime


class RestoreCompleted(RestoreEvent, frozen=True, kw_only=True):
    """A restored copy is complete and its content is the one that was recorded.

    Attributes:
        into: Where it is.
        kept: Where that is which was live before; empty when nothing was exchanged.
        swapped: Whether it is the live one now.
        restore_s: Seconds to restore.
        verify_s: Seconds to compare.
    """

    into: str
    kept: str = ""
    swapped: bool
    restore_s: float
    verify_s: float
    tables: int = 0
    rows: int = 0
    completed_at: datetime


class RestoreFailed(RestoreEvent, frozen=True, kw_only=True):
    """A restore came to nothing; what is live was not changed.

    Attributes:
        failure: Why.
        message: What was found and expected.
        advice: What to do.
    """

    failure: BackupFailureClass
    message: str
    advice: str
    failed_at: datetime


class RpoBreached(Event, frozen=True, kw_only=True):
    """A target's newest backup is older than its class allows.

    Attributes:
        rpo_s: Promised, seconds.
        age_s: Of the moment that the newest good backup shows; None when there is no backup at all.
    """

    context: ClassVar[str] = "backup"
    entity_field: ClassVar[str] = "target"

    target: str
    rpo_s: float
    age_s: float | None = None
    breached_at: datetime


class WalArchiveLagging(Event, frozen=True, kw_only=True):
    """Transactions that were committed are not in the archive yet.

    Attributes:
        lag_s: Age of the oldest one that is missing, seconds.
        limit_s: Allowed.
        last_archived: Last position that is safe.
    """

    context: ClassVar[str] = "backup"
    entity_field: ClassVar[str] = "target"

    target: str
    lag_s: float
    limit_s: float
    last_archived: str
    lagging_at: datetime
