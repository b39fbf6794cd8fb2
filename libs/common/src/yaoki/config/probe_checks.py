"""Vantages, quorums and dependencies of targets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaoki.config.findings import Context, Finding
from yaoki.config.mistakes import did_you_mean, one_of, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


def check_vantages(context: Context) -> Iterator[Finding]:
    """Every vantage that is named exists, once, and a quorum can be reached."""
    config = context.config
    known = config.vantages()
    yield from _repeated("probe.vantages", known)
    if config.probe.quorum is not None and config.probe.quorum > len(known):
        yield _too_many("probe.quorum", config.probe.quorum, len(known), "probe.vantages")
    for name, target in config.targets.items():
        path = f"targets.{name}"
        for index, vantage in enumerate(target.vantages):
            if vantage not in known:
                yield Finding(
                    path=f"{path}.vantages[{index}]",
                    found=shown(vantage),
                    expected=f"a name out of probe.vantages: {one_of(known)}",
                    hint=did_you_mean(vantage, known),
                    also=("probe.vantages",),
                )
        yield from _repeated(f"{path}.vantages", target.vantages)
        watched = len(config.vantages_of(name))
        if target.quorum is not None and target.quorum > watched:
            yield _too_many(f"{path}.quorum", target.quorum, watched, f"{path}.vantages")


def check_flapping(context: Context) -> Iterator[Finding]:
    """A target stops to flap at fewer changes than it began with, or it would do both in turn."""
    flapping = context.config.probe.flapping
    if flapping.stop >= flapping.start:
        yield Finding(
            path="probe.flapping.stop",
            found=f"{flapping.stop:g}",
            expected=f"less than start, {flapping.start:g}",
            also=("probe.flapping.start",),
        )


def check_dependencies(context: Context) -> Iterator[Finding]:
    """No target depends on itself by way of others: each would hold back the failure of all."""
    parents = {name: target.depends_on for name, target in context.config.targets.items()}
    reported: set[str] = set()
    for name in parents:
        circle = _circle(name, parents)
        if circle and not reported.intersection(circle):
            reported.update(circle)
            yield Finding(
                path=f"targets.{name}.depends_on",
                found=" -> ".join([*circle, name]),
                expected="targets that do not depend on it",
            )


def _circle(start: str, parents: Mapping[str, Sequence[str]]) -> list[str]:
    """The way from `start` back to it over at least one other target; empty when there is none."""
    ways = [[start, parent] for parent in parents[start] if parent != start]
    seen: set[str] = set()
    while ways:
        way = ways.pop()
        for parent in parents.get(way[-1], ()):
            if parent == start:
                return way
            if parent not in seen:
                seen.add(parent)
                ways.append([*way, parent])
    return []


def _repeated(path: str, names: Sequence[str]) -> Iterator[Finding]:
    for index, name in enumerate(names):
        if name in names[:index]:
            yield Finding(path=f"{path}[{index}]", found=shown(name), expected="each vantage once")


def _too_many(path: str, quorum: int, vantages: int, also: str) -> Finding:
    return Finding(
        path=path,
        found=str(quorum),
        expected=f"at most {vantages}, the number of vantages that look at it",
        hint="with more no failure would ever be found",
        also=(also,),
    )
