"""TLS contexts, made once for all targets that trust the same authorities."""

from __future__ import annotations

import ssl
from functools import cache, lru_cache
from pathlib import Path

_DIFFERENT_FILES = 64


def trusting(ca_file: str | None) -> ssl.SSLContext:
    """A context that verifies chain and name against `ca_file`, or against the system's authorities.

    Shared, so never to be changed: reading the system's takes tens of milliseconds, in which no other target would be
    probed. A file that has changed is read again.

    Raises:
        OSError: `ca_file` cannot be read, or holds no certificates (ssl.SSLError).
    """
    file = ca_file or ssl.get_default_verify_paths().cafile
    return _reading(ca_file, _state_of(file) if file else None)


@cache
def trusting_anyone() -> ssl.SSLContext:
    """A context that verifies nothing. Shared, so never to be changed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _state_of(file: str) -> tuple[int, int, int]:
    found = Path(file).stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


@lru_cache(_DIFFERENT_FILES)
def _reading(ca_file: str | None, _state: tuple[int, int, int] | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file)
