"""Ends processes that a rule allows to be ended, after the largest consumers have been recorded."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from yaoki.hands import Sight, not_allowed
from yaoki.runs.errors import ActionFailedError

from health_probe.agent.hands.pids import Process, all_processes, end, own_line, process

if TYPE_CHECKING:
    from collections.abc import Callable

    from yaoki.config.repairs import ProcessRule, Repairs
    from yaoki.plans import JsonObject

_WATCHED_S: Final = 1.0
_LARGEST: Final = 10
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_UTIME, _STIME = 11, 12
"""Fields of /proc/<pid>/stat behind the program's name."""


class EndParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Name of one rule; all rules when left out."""

    rule: str = ""


class ProcessesEnded(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the processes.

    Attributes:
        ended: Ended when they were asked to.
        killed: Had to be killed.
    """

    ended: int
    killed: int


class Consumer(msgspec.Struct, frozen=True, kw_only=True):
    """What one process uses.

    Attributes:
        cpu: Percent of one processor.
        memory: Resident, bytes.
        age_s: Seconds since it began.
    """

    pid: int
    started: int
    program: str
    cpu: float
    memory: int
    age_s: float


class EndProcesses:
    """See `Hand`. Only what the dry run named is ended, each by number and start time."""

    name = "processes.end"
    params = EndParams

    def __init__(self, repairs: Repairs) -> None:
        self._rules = repairs.clean_up

    async def look(self, params: EndParams) -> Sight:
        """See `Hand.look`. Records the largest consumers of memory and of processor time, whoever they are."""
        rules = self._chosen(params)
        consumers = await _consumers()
        spared = own_line()
        found = [
            (name, one)
            for one in consumers
            if one.pid not in spared
            for name, rule in rules.items()
            if _matches(one, rule)
        ]
        named = [
            f"{one.pid} ({one.program}, {one.memory} bytes, {one.cpu:.0f} % cpu, rule {name})" for name, one in found
        ]
        return Sight(
            would=f"end {', '.join(named) or 'nothing'}",
            before={"processes": {str(one.pid): [one.started, name] for name, one in found}},
            facts={
                "largest_memory": _largest(consumers, lambda one: float(one.memory)),
                "largest_cpu": _largest(consumers, lambda one: one.cpu),
            },
            idle="" if found else f"no process exceeds the limits of {', '.join(rules) or 'any rule'}",
        )

    def happened(self, params: EndParams, before: JsonObject, now: Sight) -> bool:  # noqa: ARG002 - the port's signature
        """See `Hand.happened`."""
        return not any(one.alive for one in _named(before))

    async def act(self, params: EndParams, seen: Sight, order_id: str) -> ProcessesEnded:  # noqa: ARG002 - as above
        """See `Hand.act`."""
        rules = self._chosen(params)
        ended = killed = 0
        for name, rule in rules.items():
            chosen = {int(pid) for pid, (_, by) in seen.before["processes"].items() if by == name}
            doomed = [
                one for one in _named(seen.before) if one.pid in chosen and one.alive and _runs(one.program, rule)
            ]
            counts = await end(doomed, rule.patience)
            ended, killed = ended + counts[0], killed + counts[1]
            if left := [one.pid for one in doomed if one.alive]:
                raise ActionFailedError(f"processes {left} survived SIGKILL; they hang in the kernel")
        return ProcessesEnded(ended=ended, killed=killed)

    def _chosen(self, params: EndParams) -> dict[str, ProcessRule]:
        if not params.rule:
            return self._rules
        if params.rule not in self._rules:
            raise not_allowed("rule", params.rule, self._rules, "repairs.clean_up")
        return {params.rule: self._rules[params.rule]}


def _named(before: JsonObject) -> list[Process]:
    return [Process(int(pid), int(started)) for pid, (started, _) in before["processes"].items()]


def _matches(one: Consumer, rule: ProcessRule) -> bool:
    """Pure. A limit that is not given is no limit; at least one of memory and cpu is given."""
    over = [
        one.age_s > rule.older_than,
        rule.memory is None or one.memory > rule.memory,
        rule.cpu is None or one.cpu > rule.cpu,
    ]
    return _runs(one.program, rule) and all(over) and (rule.memory is not None or rule.cpu is not None)


def _runs(program: str, rule: ProcessRule) -> bool:
    return program in {rule.program, os.path.realpath(rule.program)}


def _largest(consumers: list[Consumer], key: Callable[[Consumer], float]) -> list[JsonObject]:
    ordered = sorted(consumers, key=key, reverse=True)[:_LARGEST]
    return [msgspec.to_builtins(one) for one in ordered]


async def _consumers() -> list[Consumer]:
    before = {(one.pid, one.started): _ticks(one.pid) for one in all_processes()}
    loop = asyncio.get_running_loop()
    began = loop.time()
    await asyncio.sleep(_WATCHED_S)
    watched, uptime = loop.time() - began, time.clock_gettime(time.CLOCK_BOOTTIME)
    found = []
    for (pid, started), ticks in before.items():
        now = process(pid)
        if now is None or now.started != started:
            continue
        found.append(
            Consumer(
                pid=pid,
                started=started,
                program=now.program,
                cpu=round(max(0, _ticks(pid) - ticks) / _TICKS / watched * 100, 1),
                memory=_memory(pid),
                age_s=round(uptime - started / _TICKS, 1),
            )
        )
    return found


def _ticks(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return 0
    return int(fields[_UTIME]) + int(fields[_STIME])


def _memory(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * _PAGE
    except OSError:
        return 0
