"""Where plans are: those that Yaoki brings, and an installation's own beside or in place of them."""

from __future__ import annotations

from importlib import resources
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from yaoki.config.mistakes import Mistake, did_you_mean, one_of
from yaoki.dr.checking import check_read
from yaoki.dr.compiling import compiled
from yaoki.dr.reading import PlanErrors, PlanMistake, Reader
from yaoki.errors import ErrorCode, RejectedError
from yaoki.runs.plan_check import check_plan

if TYPE_CHECKING:
    from collections.abc import Mapping
    from importlib.resources.abc import Traversable

    from yaoki.dr.compiling import DrPlan

_SUFFIX = ".yaml"
_LONGEST = 1024 * 1024


class PlanLibrary:
    """Plans by name.

    Args:
        directory: An installation's own; a plan or fragment there goes before the built-in one of the same name.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._built_in: Traversable = resources.files("yaoki.dr") / "builtin"
        self._folders: list[Traversable] = [self._built_in] if directory is None else [directory, self._built_in]

    def names(self) -> list[str]:
        """Every plan there is, in order."""
        found = {
            entry.name.removesuffix(_SUFFIX)
            for folder in self._folders
            if folder.is_dir()
            for entry in folder.iterdir()
            if entry.is_file() and entry.name.endswith(_SUFFIX)
        }
        return sorted(found)

    def read(self, name: str) -> str:
        """See `PlanFiles.read`."""
        parts = PurePosixPath(name).parts
        if not name.endswith(_SUFFIX) or not parts or parts[0] == "/" or ".." in parts:
            raise RejectedError(
                f"{name!r} is no file of the plans' folder; expected a relative path ending in {_SUFFIX}"
            )
        for folder in self._folders:
            file = folder.joinpath(*parts)
            if file.is_file():
                return _text(file, name)
        known = self.names()
        hint = did_you_mean(name.removesuffix(_SUFFIX), known)
        raise RejectedError(
            f"there is no {name}; plans are: {one_of(known)}" + (f"; {hint}" if hint else ""), code=ErrorCode.NOT_FOUND
        )

    def load(self, name: str, parameters: Mapping[str, str] | None = None, *, examples: bool = False) -> DrPlan:
        """A plan that can be run.

        Args:
            name: Of the plan.
            parameters: Their values.
            examples: Let examples stand where values are missing; to look at a plan, not to run it.

        Raises:
            PlanErrors: Everything that is wrong with it, or with the values.
            RejectedError: There is no such plan.
        """
        file = f"{name}{_SUFFIX}"
        reader = Reader(self, examples=examples)
        read = reader.read(file, parameters or {})
        mistakes = [*reader.mistakes, *(() if read is None else check_read(read))]
        if read is not None and read.file.name != name:
            found = f"the name {read.file.name!r}"
            mistakes.append(PlanMistake(file=file, mistake=Mistake(path="name", found=found, expected=repr(name))))
        if mistakes or read is None:
            raise PlanErrors(name, mistakes)
        plan = compiled(read)
        check_plan(plan.plan, dict.fromkeys(("class", "severity", "detected_at", "by"), ""))
        return plan


def _text(file: Traversable, name: str) -> str:
    try:
        content = file.read_bytes()
        if len(content) <= _LONGEST:
            return content.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise RejectedError(f"{name} cannot be read: {type(error).__name__}; expected a text in UTF-8") from error
    raise RejectedError(f"{name} has {len(content)} bytes, expected at most {_LONGEST}")


def library_of(directory: str | None) -> PlanLibrary:
    """The library of a configuration's `dr.plans`."""
    return PlanLibrary(None if directory is None else Path(directory))
