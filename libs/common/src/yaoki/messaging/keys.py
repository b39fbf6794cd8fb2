"""Keys of KV buckets."""

from __future__ import annotations

import re

from yaoki.errors import RejectedError

_KEY = re.compile(r"[A-Za-z0-9_=-]+(\.[A-Za-z0-9_=-]+)*")
_MAX_KEY = 512


def check_key(key: str) -> str:
    """Return `key` if it is one: `.`-separated tokens without wildcards.

    Raises:
        RejectedError: Names the key and the allowed form.
    """
    if len(key) > _MAX_KEY or not _KEY.fullmatch(key):
        raise RejectedError(
            f"{key[:_MAX_KEY]!r} is not a valid key: expected tokens of A-Z, a-z, 0-9, '-', '_' and '=' "
            f"separated by single '.', at most {_MAX_KEY} characters"
        )
    return key
