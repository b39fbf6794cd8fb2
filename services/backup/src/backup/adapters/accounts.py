"""Whom a child runs as: PostgreSQL refuses to run as root."""

from __future__ import annotations

import os
import pwd

import msgspec
from yaoki.events.backup import BackupFailureClass

from backup.errors import BackupError


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """A user of this machine."""

    name: str
    uid: int
    gid: int


def account_of(name: str | None) -> Account | None:
    """Whom to switch to; None when this process is no root and cannot.

    Args:
        name: Of the configuration; `postgres` or `nobody`, whichever exists, when None.

    Raises:
        BackupError: There is no such user.
    """
    if os.geteuid() != 0:
        return None
    for candidate in (name,) if name else ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(candidate)
        except KeyError:
            continue
        return Account(name=candidate, uid=entry.pw_uid, gid=entry.pw_gid)
    raise BackupError(
        f"there is no user {name or 'postgres or nobody'} to run a throw-away server as",
        advice="Name an existing one in backup.verification.run_as.",
        failure=BackupFailureClass.VERIFICATION,
    )
