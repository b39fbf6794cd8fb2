"""From a path to a `Config`, or to everything that is wrong with the file."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import inspect

from yaoki.config import source
from yaoki.config.checks import check
from yaoki.config.decode import INVALID, Decoder
from yaoki.config.extensions import Vocabulary, installed
from yaoki.config.findings import Context
from yaoki.config.mistakes import ConfigErrors, Mistake
from yaoki.config.model import Config

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

EXIT_CONFIGURATION = 2
"""Exit status of a process whose configuration is wrong."""

ALL_SECRETS = ("*",)


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """A valid configuration, and what this process's environment lacks for it.

    Attributes:
        unresolved: Secrets that are needed and not there; in `config` they stand unresolved.
    """

    config: Config
    unresolved: tuple[Mistake, ...] = ()


def load_config(
    path: Path | str,
    *,
    needs: Sequence[str] = ALL_SECRETS,
    vocabulary: Vocabulary | None = None,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """Read and check a configuration file.

    Args:
        path: The file.
        needs: Glob patterns over paths (`nats.*`, `targets.*`): secrets that this process uses and that have
            to resolve now. Others are checked for form only, so that no host has to hold all secrets.
        vocabulary: Probe kinds and actions; those of the installed services when left out.
        environ: Where `env:` references are looked up; the process's environment when left out.

    Raises:
        ConfigErrors: With every mistake in the file, and every secret that is needed and not there.
    """
    config, mistakes, unresolved = _read_and_check(path, needs, vocabulary, environ)
    if config is None or mistakes or unresolved:
        raise ConfigErrors(str(path), (*mistakes, *unresolved))
    return config


def load_despite_missing_secrets(
    path: Path | str,
    *,
    needs: Sequence[str] = ALL_SECRETS,
    vocabulary: Vocabulary | None = None,
    environ: Mapping[str, str] | None = None,
) -> Loaded:
    """As `load_config`, for whoever can do a part of its work without a secret and says which part.

    Raises:
        ConfigErrors: With every mistake in the file, and the missing secrets beside them.
    """
    config, mistakes, unresolved = _read_and_check(path, needs, vocabulary, environ)
    if config is None or mistakes:
        raise ConfigErrors(str(path), (*mistakes, *unresolved))
    return Loaded(config=config, unresolved=tuple(unresolved))


def _read_and_check(
    path: Path | str, needs: Sequence[str], vocabulary: Vocabulary | None, environ: Mapping[str, str] | None
) -> tuple[Config | None, list[Mistake], list[Mistake]]:
    """What could be read, the mistakes in it, and the secrets that are not there."""
    known = vocabulary or installed()
    decoder = Decoder(vocabulary=known, environ=os.environ if environ is None else environ, needs=needs)
    root, mistakes = source.parse(_read(Path(path)))
    if root is None:
        return None, mistakes, []
    config = decoder.decode(root, inspect.type_info(Config))
    mistakes += decoder.mistakes
    if config is INVALID:
        return None, mistakes, decoder.unresolved
    context = Context(
        config=config,
        names=decoder.names,
        written=decoder.lines.keys(),
        references=decoder.references,
        actions=known.actions,
    )
    wrong = {mistake.path for mistake in (*mistakes, *decoder.unresolved)}
    mistakes += _beyond_fields(context, decoder.lines, wrong)
    return config, mistakes, decoder.unresolved


def load_or_exit(path: Path | str, *, needs: Sequence[str] = ALL_SECRETS) -> Config:
    """`load_config` for a program's first line: prints the mistakes to stderr and ends with status 2."""
    try:
        return load_config(path, needs=needs)
    except ConfigErrors as exc:
        sys.stderr.write(f"{exc.message}\nNothing was started.\n")
        raise SystemExit(EXIT_CONFIGURATION) from None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as exc:
        mistake = Mistake(path="", found=f"a byte at {exc.start} that is not UTF-8", expected="a text file in UTF-8")
    except OSError as exc:
        mistake = Mistake(
            path="",
            found=f"no readable file ({exc.strerror})",
            expected="a YAML file",
            hint="name it with --config",
        )
    raise ConfigErrors(str(path), [mistake])


def _beyond_fields(context: Context, lines: Mapping[str, int], wrong: set[str]) -> Iterator[Mistake]:
    for finding in check(context):
        if wrong.isdisjoint((finding.path, *finding.also)):
            yield Mistake(
                path=finding.path,
                found=finding.found,
                expected=finding.expected,
                hint=finding.hint,
                line=_nearest_line(finding.path, lines),
            )


def _nearest_line(path: str, lines: Mapping[str, int]) -> int | None:
    """Line of the path, or of the closest mapping around it (a missing key has no line of its own)."""
    while path not in lines and path:
        path = path.rpartition(".")[0]
    return lines.get(path)
