"""A stack for people: it outlives the command that started it, under a directory such as `.yaoki/stack`."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from yaoki_devstack.cleanup import remove_directory
from yaoki_devstack.errors import ServerStopError, StackStateError
from yaoki_devstack.process import collect_detached
from yaoki_devstack.proctree import kill_until_none, working_under
from yaoki_devstack.stack import BucketSpec, DevStack, StackSpec
from yaoki_devstack.users import can_reach, postgres_identity

STATE_FILE = "state.json"
KILL_SECONDS = 20.0

_FORMAT = 1
_POSTGRES_ELSEWHERE = Path("/var/lib/yaoki")


async def up(directory: Path, spec: StackSpec | None = None) -> DevStack:
    """Start a stack that survives this process, write `directory/state.json`, and return it.

    Where root's PostgreSQL user cannot reach `directory`, PostgreSQL's part lies below /var/lib/yaoki.

    Raises:
        StackStateError: a stack is already there; `down` it first.
        ServerStartError: a server did not start; everything is cleaned up again.
    """
    stack = _claim(directory, spec or StackSpec())
    try:
        await stack.start()
    except BaseException:
        await down(directory)
        raise
    _write_state(stack)
    return stack


def _claim(directory: Path, spec: StackSpec) -> DevStack:
    directory = directory.resolve()
    if (directory / STATE_FILE).exists():
        raise StackStateError(f"{directory} holds a stack already; attach with load(), or remove it with down()")
    directory.mkdir(parents=True, exist_ok=True)
    stack = _stack(directory, spec)
    # Written before anything starts, so that a second up() is refused and people see what is coming.
    _write_state(stack)
    return stack


def load(directory: Path) -> DevStack:
    """Attach to the stack that `up` started: the same servers, ports and handles.

    Raises:
        StackStateError: there is no stack, or its state cannot be read.
    """
    directory = directory.resolve()
    return _stack(directory, _read_spec(directory / STATE_FILE))


async def down(directory: Path) -> None:
    """Kill every server of the stack, whatever its state, and remove `directory`; nothing there is no error.

    Raises:
        ServerStopError: a process survived SIGKILL.
    """
    await asyncio.to_thread(_down, directory)


def _down(directory: Path) -> None:
    directory = directory.resolve()
    for part in (directory, _postgres_directory(directory)):
        if not kill_until_none(partial(working_under, part), within=KILL_SECONDS):
            pids = [process.pid for process in working_under(part)]
            raise ServerStopError(f"processes {pids} in {part} survived SIGKILL for {KILL_SECONDS} s")
        remove_directory(part)
    collect_detached()


def _stack(directory: Path, spec: StackSpec) -> DevStack:
    return DevStack(
        spec,
        directory=directory,
        postgres_directory=_postgres_directory(directory),
        preferred_ports=True,
        detached=True,
    )


def _postgres_directory(directory: Path) -> Path:
    existing = next((parent for parent in (directory, *directory.parents) if parent.exists()), directory)
    if can_reach(existing, postgres_identity()):
        return directory / "postgres"
    return _POSTGRES_ELSEWHERE / hashlib.sha256(str(directory).encode()).hexdigest()[:16]


def _write_state(stack: DevStack) -> None:
    servers: dict[str, Any] = {
        server.name: {
            "program": server.program,
            "url": server.url,
            "port": server.port,
            "pid": server.pid if server.running else None,
            "data_dir": str(server.data_dir),
            "log_file": str(server.log_file),
        }
        for server in stack.servers
    }
    state = {"format": _FORMAT, "spec": asdict(stack.spec), "servers": servers}
    work = stack.directory / f".{STATE_FILE}"
    work.write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
    work.chmod(0o600)
    work.rename(stack.directory / STATE_FILE)


def _read_spec(file: Path) -> StackSpec:
    try:
        state = json.loads(file.read_text(encoding="utf-8"))
        fields = state["spec"]
        if state["format"] != _FORMAT:
            raise StackStateError(f"{file} has format {state['format']}, expected {_FORMAT}; run 'yaoki down' and up")
        buckets = tuple(BucketSpec(**bucket) for bucket in fields.pop("buckets"))
        return StackSpec(**fields, buckets=buckets)
    except FileNotFoundError as error:
        raise StackStateError(f"no stack in {file.parent}: {file.name} is missing; start one with up()") from error
    except (ValueError, KeyError, TypeError) as error:
        raise StackStateError(f"{file} cannot be read ({error}); remove the stack with down()") from error
