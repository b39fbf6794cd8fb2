"""Keeps a Redis master that may have been replaced from accepting writes alone; see `redis_decision`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaoki.errors import TransientError
from yaoki.telemetry import get_logger

from health_probe.agent.durable import boottime, read_state, write_state
from health_probe.agent.redis_decision import REPLICA_LAG_S, replicas_demanded

if TYPE_CHECKING:
    from pathlib import Path

    from health_probe.agent.redis_node import RedisNode

log = get_logger(__name__)


class Isolation:
    """Demands replicas of every write while the route cannot be read, and gives the server's own rule back after.

    Args:
        node: Of the server.
        others: Members of the group beside this one.
        state_file: Keeps the server's own rule meanwhile, also for an agent that is started anew.
    """

    def __init__(self, node: RedisNode, *, others: int, state_file: Path) -> None:
        self._node = node
        self._others = others
        self._state_file = state_file
        self._heard = boottime()
        self._own = read_state(state_file)

    async def route_was_read(self, *, running: bool) -> None:
        """NATS says who is the master: nothing more is demanded of the server, which forgets it when it is started."""
        self._heard = boottime()
        if self._own is None:
            return
        if running:
            try:
                await self._node.set_write_rule(self._own)
            except TransientError as error:  # it is asked again; what is to become of the server must not wait for that
                log.warning("the server keeps demanding replicas", error=error.message)
                return
        self._state_file.unlink(missing_ok=True)
        self._own = None
        log.info("writes need no replicas any more beyond the server's own rule")

    async def route_was_not_read(self, *, master: bool) -> None:
        """Demand replicas once that has lasted.

        Raises:
            TransientError: The server does not answer, so nobody can write to it either.
        """
        count = replicas_demanded(master=master, silent_s=boottime() - self._heard, others=self._others)
        if count is None:
            return
        demanded = {"min-replicas-to-write": str(count), "min-replicas-max-lag": str(REPLICA_LAG_S)}
        rule = await self._node.write_rule()
        if {name: rule.get(name) for name in demanded} == demanded:
            return
        if self._own is None:
            own = {name: rule[name] for name in demanded}
            write_state(self._state_file, own)
            self._own = own
        await self._node.set_write_rule(demanded)
        log.warning("the route cannot be read: writes need every replica now", replicas=count)
