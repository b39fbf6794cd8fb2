"""Drains, readies and weights servers through HAProxy's runtime API."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final, Literal

import msgspec
from yaoki.errors import RejectedError, TransientError
from yaoki.hands import Sight, not_allowed
from yaoki.runs.errors import ActionFailedError, PreconditionFailedError

if TYPE_CHECKING:
    from yaoki.config.repairs import BalancerSettings, Repairs
    from yaoki.plans import JsonObject

_ANSWER_S: Final = 5.0
_POLL_S: Final = 0.1
_MOST_BYTES: Final = 1 << 20
_NAME: Final = re.compile(r"[A-Za-z0-9_.:-]+")
_FORCED_MAINTENANCE, _FORCED_DRAIN = 0x01, 0x08
"""Bits of `srv_admin_state`."""
_RUNNING: Final = 2


class ServerParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a server should be.

    Attributes:
        state: `drain` takes no new connections, `maint` none at all; left as it is when left out.
        weight: 0 to 256; left as it is when left out.
        patience_s: With `drain` or `maint`: how long its connections may take to end.
    """

    backend: str
    server: str
    state: Literal["ready", "drain", "maint"] | None = None
    weight: int | None = None
    patience_s: float = 0.0


class ServerSet(msgspec.Struct, frozen=True, kw_only=True):
    """The server is as it should be.

    Attributes:
        sessions: Connections that it still has.
    """

    backend: str
    server: str
    state: str
    weight: int
    sessions: int


class _Server(msgspec.Struct, frozen=True):
    name: str
    running: bool
    admin: int
    weight: int

    @property
    def state(self) -> str:
        if self.admin & _FORCED_MAINTENANCE:
            return "maint"
        return "drain" if self.admin & _FORCED_DRAIN else "ready"

    @property
    def takes_new(self) -> bool:
        return self.running and self.state == "ready" and self.weight > 0


class SetServer:
    """See `Hand`. The order says how the server should be, so a repeat changes nothing."""

    name = "haproxy.set-server"
    params = ServerParams

    def __init__(self, repairs: Repairs) -> None:
        self._haproxy: BalancerSettings | None = repairs.haproxy

    async def look(self, params: ServerParams) -> Sight:
        """See `Hand.look`. The last server that takes new connections is never taken away, nor maintenance ended."""
        allowed = self._haproxy.backends if self._haproxy else ()
        if params.backend not in allowed:
            raise not_allowed("backend", params.backend, allowed, "repairs.haproxy.backends")
        _check(params)
        servers = await self._servers(params.backend)
        found = servers.get(params.server)
        if found is None:
            known = ", ".join(servers) or "none"
            raise PreconditionFailedError(f"backend {params.backend!r} has no server {params.server!r}; it has {known}")
        if found.state == "maint" and params.state in {"drain", "ready"}:
            raise PreconditionFailedError(f"{params.server} is in maintenance; whoever put it there takes it out")
        closes = params.state in {"drain", "maint"} or params.weight == 0
        others = [one.name for one in servers.values() if one.takes_new and one.name != params.server]
        if closes and found.takes_new and not others:
            raise PreconditionFailedError(
                f"{params.server} is the last server of {params.backend} that takes new connections"
            )
        wanted = [
            f"{key} {value}" for key, value in (("state", params.state), ("weight", params.weight)) if value is not None
        ]
        return Sight(
            would=f"set {params.backend}/{params.server} to {' and '.join(wanted)} from state {found.state} "
            f"and weight {found.weight}; besides it {', '.join(others) or 'nobody'} serves",
            before={"state": found.state, "weight": found.weight},
            facts={"sessions": await self._sessions(params)},
        )

    def happened(self, params: ServerParams, before: JsonObject, now: Sight) -> bool:  # noqa: ARG002 - the port's signature
        """See `Hand.happened`: its connections have ended, too, or the patience for them is used up by `act`."""
        return _as_wanted(params, now) and (not params.patience_s or now.facts["sessions"] == 0)

    async def act(self, params: ServerParams, seen: Sight, order_id: str) -> ServerSet:  # noqa: ARG002 - as above
        """See `Hand.act`."""
        place = f"{params.backend}/{params.server}"
        for order in _orders(params):
            if said := (await self._command(f"set server {place} {order}")).strip():
                raise ActionFailedError(f"HAProxy refused `set server {place} {order}`: {said}")
        now = await self.look(params) if params.state == "ready" else await self._drained(params)
        if not _as_wanted(params, now):
            raise ActionFailedError(
                f"{place} is {now.before} although HAProxy took the order; expected {_wanted(params)}"
            )
        return ServerSet(
            backend=params.backend,
            server=params.server,
            state=now.before["state"],
            weight=now.before["weight"],
            sessions=now.facts["sessions"],
        )

    async def _drained(self, params: ServerParams) -> Sight:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + params.patience_s
        while await self._sessions(params) and loop.time() < deadline:  # noqa: ASYNC110 - in another program
            await asyncio.sleep(_POLL_S)
        return await self.look(params)

    async def _servers(self, backend: str) -> dict[str, _Server]:
        header, rows = _table(await self._command(f"show servers state {backend}"), marker="# be_id")
        servers = (dict(zip(header, row, strict=False)) for row in rows)
        try:
            return {
                one["srv_name"]: _Server(
                    name=one["srv_name"],
                    running=int(one["srv_op_state"]) == _RUNNING,
                    admin=int(one["srv_admin_state"]),
                    weight=int(one["srv_uweight"]),
                )
                for one in servers
            }
        except (KeyError, ValueError) as error:
            raise TransientError(f"HAProxy's `show servers state` lacks or spoils {error}") from error

    async def _sessions(self, params: ServerParams) -> int:
        lines = (await self._command("show stat")).splitlines()
        header = lines[0].removeprefix("# ").split(",") if lines else []
        for line in lines[1:]:
            row = dict(zip(header, line.split(","), strict=False))
            if (row.get("pxname"), row.get("svname")) == (params.backend, params.server):
                return int(row.get("scur") or 0)
        return 0

    async def _command(self, line: str) -> str:
        path = self._haproxy.socket if self._haproxy else ""
        try:
            async with asyncio.timeout(_ANSWER_S):
                reader, writer = await asyncio.open_unix_connection(path)
                try:
                    writer.write(f"{line}\n".encode())
                    answer = bytearray()
                    while (chunk := await reader.read(1 << 16)) and len(answer) <= _MOST_BYTES:
                        answer += chunk
                finally:
                    writer.close()
        except (OSError, TimeoutError) as error:
            raise TransientError(f"HAProxy at {path}: {str(error) or type(error).__name__}") from error
        return answer.decode(errors="replace")


def _check(params: ServerParams) -> None:
    for what in (params.backend, params.server):
        if not _NAME.fullmatch(what):
            raise RejectedError(f"{what!r} is no name of a backend or server; expected letters, digits and . _ : -")
    if params.state is None and params.weight is None:
        raise RejectedError("neither state nor weight is given; expected at least one of them")
    if params.weight is not None and not 0 <= params.weight <= 256:  # noqa: PLR2004 - HAProxy's own limits
        raise RejectedError(f"weight is {params.weight}; expected 0 to 256")


def _orders(params: ServerParams) -> list[str]:
    state = [f"state {params.state}"] if params.state is not None else []
    return state + ([f"weight {params.weight}"] if params.weight is not None else [])


def _wanted(params: ServerParams) -> dict[str, str | int]:
    return {key: value for key, value in (("state", params.state), ("weight", params.weight)) if value is not None}


def _as_wanted(params: ServerParams, now: Sight) -> bool:
    return all(now.before[key] == value for key, value in _wanted(params).items())


def _table(text: str, *, marker: str) -> tuple[list[str], list[list[str]]]:
    lines = [line for line in text.splitlines() if line.strip()]
    start = next((index for index, line in enumerate(lines) if line.startswith(marker)), None)
    if start is None:
        said = lines[0] if lines else "nothing"
        raise PreconditionFailedError(f"HAProxy says: {said}")
    return lines[start].removeprefix("# ").split(), [line.split() for line in lines[start + 1 :]]
