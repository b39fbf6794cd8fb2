"""How a member that is not in line with the primary becomes its standby again: rewind, else a new clone."""

from __future__ import annotations

import asyncio
import shutil
import time
from typing import TYPE_CHECKING

from yaoki.errors import TransientError, YaokiError
from yaoki.telemetry import get_logger

from health_probe.agent.durable import sync_directory
from health_probe.agent.programs import run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from health_probe.agent.addresses import ServerAddress
    from health_probe.agent.lineage import Lineage
    from health_probe.agent.postgres_node import PostgresNode
    from health_probe.agent.postgres_sql import PostgresSql, ServerView

_REWIND_S = 600.0
_CLONE_S = 6 * 3600.0
_PAUSE_S = 1.0
_CLONE_MARK = ".clone"
_QUARANTINE_MARK = ".quarantine-"
_IN_LINE = "no rewind required"

log = get_logger(__name__)


class Rejoiner:
    """Runs one `rejoin` at a time in the background: a clone may take hours, in which orders are still answered.

    Args:
        node: Of the server.
        lineage: Of its directory.
    """

    def __init__(self, node: PostgresNode, lineage: Lineage) -> None:
        self._node = node
        self._lineage = lineage
        self._task: asyncio.Task[None] | None = None

    def busy(self) -> bool:
        """A rewind or a clone is under way."""
        return self._task is not None and not self._task.done()

    def begin(self, upstream: PostgresSql, stop: Callable[[], Awaitable[None]], ended: Callable[[str], None]) -> None:
        """Begin unless one is under way.

        Args:
            upstream: The primary.
            stop: Stops the server; called only when the primary can be followed.
            ended: Told the method, or an empty text when it failed and is to be tried again.
        """
        if not self.busy():
            self._task = asyncio.create_task(self._run(upstream, stop, ended), name="rejoin")

    async def cancel(self) -> None:
        """Give up; return when nothing of it runs any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(
        self, upstream: PostgresSql, stop: Callable[[], Awaitable[None]], ended: Callable[[str], None]
    ) -> None:
        method = ""
        try:
            await _require_primary(upstream)
            if self._node.working():
                await stop()
            method = await rejoin(self._node, self._lineage, upstream)
        except (YaokiError, OSError) as error:
            log.warning("not rejoined yet", error=str(error))
            await asyncio.sleep(_PAUSE_S)
        finally:
            ended(method)


async def rejoin(node: PostgresNode, lineage: Lineage, upstream: PostgresSql) -> str:
    """Make the stopped directory a consistent past of the primary at `upstream`; return how.

    `stream`: it was one already, as after a switchover. Else `rewind`, or `clone`.

    A directory whose rewind failed is put aside, never started. The old directory is given up only when a complete
    clone stands beside it. Nor is one rewound that was a primary on the present primary's timeline: both were promoted
    to it, each for itself, and `pg_rewind` takes equal numbers for equal histories.

    Raises:
        TransientError: The primary cannot be reached, or is none yet; nothing was changed, try again later.
    """
    view = await _require_primary(upstream)
    forked = lineage.needs_rewind and node.timeline() == view.timeline
    if not lineage.needs_clone and not forked:
        try:
            rewound = await _rewind(node, lineage, upstream.address)
        except TransientError as error:
            log.warning("pg_rewind failed, cloning instead", error=error.message)
            await _require_primary(upstream)
        else:
            return "rewind" if rewound else "stream"
    await _clone(node, lineage, upstream.address)
    return "clone"


async def _require_primary(upstream: PostgresSql) -> ServerView:
    view = await upstream.view()
    if view.in_recovery:
        raise TransientError(f"{upstream.address.host}:{upstream.address.port} holds the lease but is in recovery yet")
    return view


def _source(node: PostgresNode, upstream: ServerAddress) -> str:
    return f"{node.followed.conninfo(upstream)} dbname=postgres"


async def _rewind(node: PostgresNode, lineage: Lineage, upstream: ServerAddress) -> bool:
    """Whether there was anything to rewind: after a clean stop that the primary has seen the end of there is not."""
    lineage.before_rewind()
    said = await run(
        [
            *(node.binaries / "pg_rewind", "-D", node.data_directory),
            *("--source-server", _source(node, upstream)),
        ],
        user=node.user,
        timeout_s=_REWIND_S,
        remarks=True,
    )
    # The rewind has copied the configuration of the primary over ours.
    node.write_settings(node.follow_settings(upstream))
    lineage.clean()
    return _IN_LINE not in said


async def _clone(node: PostgresNode, lineage: Lineage, upstream: ServerAddress) -> None:
    target = node.data_directory.with_name(f"{node.data_directory.name}{_CLONE_MARK}")
    await asyncio.to_thread(shutil.rmtree, target, ignore_errors=True)
    target.mkdir(mode=0o700)
    node.user.own(target, 0o700)
    await run(
        [
            *(node.binaries / "pg_basebackup", "-D", target, "-d", _source(node, upstream)),
            *("-X", "stream", "-c", "fast", "--no-password"),
        ],
        user=node.user,
        timeout_s=_CLONE_S,
    )
    node.write_settings(node.follow_settings(upstream), target)
    (target / "standby.signal").touch()
    node.user.own(target / "standby.signal", 0o600)
    await asyncio.to_thread(_swap_in, node.data_directory, target)
    lineage.clean()


def _swap_in(data_directory: Path, clone: Path) -> None:
    """Put the old directory aside and the clone in its place; of those put aside before, none is kept."""
    parent = data_directory.parent
    for old in parent.glob(f"{data_directory.name}{_QUARANTINE_MARK}*"):
        shutil.rmtree(old, ignore_errors=True)
    if data_directory.exists():
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        data_directory.rename(data_directory.with_name(f"{data_directory.name}{_QUARANTINE_MARK}{moment}"))
    clone.rename(data_directory)
    sync_directory(parent)
