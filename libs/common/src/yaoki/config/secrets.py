"""Secrets by reference: the file names where a secret is, never the secret itself."""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import override

from yaoki.errors import FatalError

if TYPE_CHECKING:
    from collections.abc import Mapping

_ENV = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*")
_FILE = re.compile(r"file:/.+")
_CONTAINER_SECRETS = Path("/run/secrets")

REFERENCE_FORM = "a reference to a secret: env:NAME or file:/absolute/path"
REFERENCE_PATTERN = r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:/.+)$"


class Secret:
    """A secret whose value shows only in `reveal()`; `repr`, `str` and JSON show the reference.

    Args:
        reference: `env:NAME` or `file:/absolute/path`.
        value: What it stands for; None when this process has no business with it.
    """

    __slots__ = ("_value", "reference")

    def __init__(self, reference: str, value: str | None = None) -> None:
        self.reference = reference
        self._value = value

    def reveal(self) -> str:
        """The secret. Call it where it is used, and keep the result nowhere.

        Raises:
            FatalError: The configuration was loaded without resolving this reference.
        """
        if self._value is None:
            raise FatalError(f"secret {self.reference} was not loaded here; name its place in load_config(needs=...)")
        return self._value

    @property
    def resolved(self) -> bool:
        """Whether `reveal` can answer."""
        return self._value is not None

    @override
    def __repr__(self) -> str:
        return f"Secret({self.reference!r})"

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other.reference == self.reference

    @override
    def __hash__(self) -> int:
        return hash(self.reference)


class UnresolvableError(ValueError):
    """A reference that leads to no secret; the sentence says what was expected and never shows a value."""


def is_reference(text: str) -> bool:
    """Whether `text` has the form of a reference."""
    return bool(_ENV.fullmatch(text) or _FILE.fullmatch(text))


def resolve(reference: str, environ: Mapping[str, str]) -> str:
    """The secret that `reference` (of valid form) stands for.

    Raises:
        UnresolvableError: Nothing there, empty, or readable by everybody.
    """
    scheme, _, place = reference.partition(":")
    if scheme == "env":
        if not environ.get(place):
            raise UnresolvableError(f"the environment variable {place} to be set and not empty")
        return environ[place]
    return _from_file(Path(place))


def _from_file(path: Path) -> str:
    """Contents without the trailing newline that editors leave.

    A file that everybody may read is refused, except below /run/secrets, where container runtimes mount
    secrets with mode 0444 and the container is the boundary.
    """
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "not UTF-8 text"
        raise UnresolvableError(f"{path} to be a readable text file ({reason})") from None
    if not text:
        raise UnresolvableError(f"{path} to hold the secret; it is empty")
    if mode & (stat.S_IROTH | stat.S_IWOTH) and not path.is_relative_to(_CONTAINER_SECRETS):
        raise UnresolvableError(f"{path} to be closed to others; run: chmod o-rwx {path}")
    return text
