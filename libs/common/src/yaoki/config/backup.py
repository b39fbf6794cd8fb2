"""What is backed up, where to, when, and for how long it is kept."""

from typing import Annotated, Literal

import msgspec

from yaoki.config.base import Section
from yaoki.config.forms import (
    AbsolutePath,
    Address,
    BackupTargetName,
    Duration,
    Host,
    HttpUrl,
    Name,
    Port,
    PositiveDuration,
    RepositoryName,
    Size,
    TimeZone,
)
from yaoki.config.secrets import Secret

Text = Annotated[str, msgspec.Meta(min_length=1)]
Count = Annotated[int, msgspec.Meta(ge=0)]


class BackupRepository(Section, frozen=True, kw_only=True, tag_field="kind"):
    """Where backups are kept.

    Attributes:
        prefix: First part of every key, for a place that is shared with others.
    """

    prefix: Annotated[str, msgspec.Meta(pattern=r"^([A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*)?$")] = "yaoki"


class S3Repository(BackupRepository, frozen=True, kw_only=True, tag="s3"):
    """A bucket of S3, or of a store that speaks its protocol.

    Attributes:
        endpoint: Of a store other than AWS; addressed by path.
        bucket: Its name.
        region: For the signature.
        access_key: With `secret_key`; the machine's own role when left out.
        secret_key: Of `access_key`.
        session_token: Of temporary credentials.
        storage_class: Of data; manifests stay in the standard class.
        encryption: Of the server, on top of our own.
        ca_file: Authorities to trust (PEM); the system's when left out.
        lock_days: Nobody can delete an object for so long; the bucket needs object lock.
        lock_mode: `COMPLIANCE`: also not the bucket's owner. `GOVERNANCE`: except with a special permission.
    """

    endpoint: HttpUrl | None = None
    bucket: Text
    region: Text = "us-east-1"
    access_key: Secret | None = None
    secret_key: Secret | None = None
    session_token: Secret | None = None
    storage_class: Text = "STANDARD_IA"
    encryption: Literal["", "AES256"] = "AES256"
    ca_file: AbsolutePath | None = None
    lock_days: Count = 0
    lock_mode: Literal["COMPLIANCE", "GOVERNANCE"] = "COMPLIANCE"


class DirectoryRepository(BackupRepository, frozen=True, kw_only=True, tag="directory"):
    """A directory of the service's own host. It has to exist: an unmounted disk must not look empty."""

    path: AbsolutePath


class BackupAssertion(Section, frozen=True, kw_only=True):
    """Something that has to hold in every restored copy.

    Attributes:
        name: For reports.
        question: One SQL query with one value; for files a name below the root, which is there or not; for Redis a
            command that reads, such as `EXISTS name`.
        expect: The answer as text.
    """

    name: Text
    question: Text
    expect: str = "true"


class Keep(Section, frozen=True, kw_only=True):
    """How long backups are kept: a backup stays while one rule keeps it.

    Attributes:
        last: The newest, whatever their age.
        hourly: The newest of each of so many hours that have one.
        daily: As above, calendar days.
        weekly: As above, ISO weeks.
        monthly: As above, calendar months.
        within: Everything younger than this.
    """

    last: Annotated[int, msgspec.Meta(ge=1)] = 3
    hourly: Count = 24
    daily: Count = 30
    weekly: Count = 12
    monthly: Count = 12
    within: Duration = 0.0


class BackupHook(Section, frozen=True, kw_only=True):
    """A program that runs before or after each backup of a target, without a shell.

    Attributes:
        argv: Program, out of `backup.allowed_hooks`, and its arguments.
        timeout: It is killed after so long, and has failed then.
    """

    argv: Annotated[tuple[Text, ...], msgspec.Meta(min_length=1)]
    timeout: PositiveDuration = 60.0


class BackupHooks(Section, frozen=True, kw_only=True):
    """What runs around each backup of a target.

    Attributes:
        before: No backup is taken when it fails.
        after: Runs whatever became of the backup, and at least once.
    """

    before: BackupHook | None = None
    after: BackupHook | None = None


class BackupTarget(Section, frozen=True, kw_only=True, tag_field="kind"):
    """Something that is backed up.

    Attributes:
        repository: Name in `backup.repositories`.
        importance: Its class: recovery objectives, and whether each backup is verified at once.
        workspace: Whose it is.
        assertions: Hold in every restored copy.
        rate: Most bytes a second towards the repository.
        keep: How long its backups are kept.
        pinned: Backups by id that are kept whatever the rules say.
        hooks: Programs that run before and after each backup.
        stale_after: `/ops/health/backup` is unhealthy when the newest good backup is older.
    """

    repository: RepositoryName
    importance: Literal["critical", "important", "standard", "archive"] = "standard"
    workspace: Name = "default"
    assertions: tuple[BackupAssertion, ...] = ()
    rate: Size | None = None
    keep: Keep = Keep()
    pinned: tuple[Text, ...] = ()
    hooks: BackupHooks = BackupHooks()
    stale_after: PositiveDuration = 172800.0


class PostgresLogicalBackup(BackupTarget, frozen=True, kw_only=True, tag="postgres-logical"):
    """A PostgreSQL database through pg_dump.

    Attributes:
        host: Of the server; a standby will do.
        port: As `host`.
        user: Needs to read everything; only a superuser can also store the roles' passwords.
        password: Of `user`.
        database: What is backed up.
        tls: As libpq's `sslmode`.
        ca_file: Authorities to trust (PEM), for `verify-ca` and `verify-full`.
        tables: `schema.table`; the whole database when there are none.
        fingerprints: Read every row once more for a fingerprint of its content; counts only when false.
        maintenance_database: Where restores log in to create and rename databases.
    """

    host: Host
    port: Port = 5432
    user: Text
    password: Secret | None = None
    database: Text
    tls: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = "prefer"
    ca_file: AbsolutePath | None = None
    tables: tuple[Text, ...] = ()
    fingerprints: bool = True
    maintenance_database: Text = "postgres"


class PostgresPhysicalBackup(BackupTarget, frozen=True, kw_only=True, tag="postgres-physical"):
    """A whole PostgreSQL cluster through pg_basebackup.

    Attributes:
        host: Of the server; a standby will do.
        port: As `host`.
        user: With the attribute REPLICATION, and allowed in by `pg_hba.conf` for `replication`.
        password: Of `user`.
        database: Where the server is asked about itself, and where assertions are.
        tls: As libpq's `sslmode`.
        ca_file: Authorities to trust (PEM), for `verify-ca` and `verify-full`.
        restore_directory: Restored data directories are put here, each under a new name.
    """

    host: Host
    port: Port = 5432
    user: Text
    password: Secret | None = None
    database: Text = "postgres"
    tls: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = "prefer"
    ca_file: AbsolutePath | None = None
    restore_directory: AbsolutePath


class RedisRestorePlace(Section, frozen=True, kw_only=True):
    """A Redis server for restored copies. It has to be empty, and reach the backup service's host.

    Attributes:
        host: Of the server.
        port: As `host`.
        user: Of its access list; left out for a password alone.
        password: Of `user`.
        tls: Speak TLS with it; what it loads comes to it without.
        ca_file: Authorities to trust (PEM); the system's when left out.
    """

    host: Host
    port: Port = 6379
    user: str = ""
    password: Secret | None = None
    tls: bool = False
    ca_file: AbsolutePath | None = None


class RedisBackup(BackupTarget, frozen=True, kw_only=True, tag="redis"):
    """A Redis server, read as its replicas read it.

    Attributes:
        host: Of a master or a replica.
        port: As `host`.
        user: Of its access list, with `+sync +psync +replconf +info`; left out for a password alone.
        password: Of `user`.
        tls: Speak TLS.
        ca_file: Authorities to trust (PEM); the system's when left out.
        restore_to: An empty server that restored copies are put into.
    """

    host: Host
    port: Port = 6379
    user: str = ""
    password: Secret | None = None
    tls: bool = False
    ca_file: AbsolutePath | None = None
    restore_to: RedisRestorePlace | None = None


class FilesBackup(BackupTarget, frozen=True, kw_only=True, tag="files"):
    """A tree of files.

    Attributes:
        root: A directory.
        exclude: Patterns over names relative to it, as of a shell.
    """

    root: AbsolutePath
    exclude: tuple[Text, ...] = ()


class BackupSchedule(Section, frozen=True, kw_only=True):
    """When backups are taken by themselves. A time that was missed is made up once.

    Attributes:
        targets: Names in `backup.targets`.
        cron: Minute, hour, day of month, month, day of week.
        time_zone: Of the times; the installation's when left out.
        verify: Verify each of these backups at once.
    """

    targets: Annotated[tuple[BackupTargetName, ...], msgspec.Meta(min_length=1)]
    cron: Text
    time_zone: TimeZone | None = None
    verify: bool = False


class BackupSection(Section, frozen=True, kw_only=True):
    """The backup service.

    Attributes:
        http: Where `/live`, `/ready`, `/metrics` and `/ops/health/backup` are served.
        admin_key: Who asks for `/ops/health/backup` brings it; nobody is answered without one.
        repositories: Where backups are kept, by name.
        recipients: Public age keys; each can read every backup that is taken from now on.
        identity: Private age key, on hosts that verify and restore; a host that only takes backups has none.
        binaries: Directory of PostgreSQL's programs; those on PATH when left out.
        redis_server: Program that rehearses restores of Redis; the one on PATH when left out.
        allowed_hooks: Programs that hooks may run, by absolute path.
        scratch: Where rehearsals put their data; the system's temporary directory when left out.
        run_as: User of throw-away servers, where the service is root.
        targets: What is backed up, by name.
        schedules: When, by name.
        sweep_after: What an interrupted backup left is removed after so long.
    """

    http: Address | None = None
    admin_key: Secret | None = None
    repositories: dict[Name, S3Repository | DirectoryRepository] = msgspec.field(default_factory=dict)
    recipients: tuple[Annotated[str, msgspec.Meta(pattern="^age1[0-9a-z]+$")], ...] = ()
    identity: Secret | None = None
    binaries: AbsolutePath | None = None
    redis_server: AbsolutePath | None = None
    allowed_hooks: tuple[AbsolutePath, ...] = ()
    scratch: AbsolutePath | None = None
    run_as: str | None = None
    targets: dict[Name, PostgresLogicalBackup | PostgresPhysicalBackup | RedisBackup | FilesBackup] = msgspec.field(
        default_factory=dict
    )
    schedules: dict[Name, BackupSchedule] = msgspec.field(default_factory=dict)
    sweep_after: PositiveDuration = 86400.0
