"""The user that PostgreSQL runs as, since it refuses to run as root."""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from yaoki_devstack.errors import UnavailableHereError

if TYPE_CHECKING:
    from pathlib import Path

_CANDIDATES = ("postgres", "nobody")


@dataclass(frozen=True, kw_only=True)
class Identity:
    """An unprivileged user to start a process as."""

    uid: int
    gid: int
    name: str


def postgres_identity() -> Identity | None:
    """Return whom to run PostgreSQL as: an existing account for root, None (no switch) for an ordinary user.

    The environment variable YAOKI_DEVSTACK_POSTGRES_USER names another account.
    """
    if os.geteuid() != 0:
        return None
    chosen = os.environ.get("YAOKI_DEVSTACK_POSTGRES_USER")
    for name in (chosen,) if chosen else _CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Identity(uid=entry.pw_uid, gid=entry.pw_gid, name=name)
    raise UnavailableHereError(
        f"PostgreSQL refuses to run as root, and no user {chosen or ' or '.join(_CANDIDATES)} exists; "
        "create one, or name one in YAOKI_DEVSTACK_POSTGRES_USER"
    )


def can_reach(path: Path, identity: Identity | None) -> bool:
    """Say whether `identity` may pass through every directory above `path` and read `path` itself."""
    if identity is None:
        return True
    resolved = path.resolve()
    return all(_allows(entry, identity, stat.S_IXOTH) for entry in resolved.parents) and _allows(
        resolved, identity, stat.S_IROTH
    )


def _allows(path: Path, identity: Identity, other_bit: int) -> bool:
    info = path.stat()
    if info.st_uid == identity.uid:
        return bool(info.st_mode & (other_bit << 6))
    if info.st_gid == identity.gid:
        return bool(info.st_mode & (other_bit << 3))
    return bool(info.st_mode & other_bit)
