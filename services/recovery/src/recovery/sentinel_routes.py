"""Routes of the groups that Sentinel manages: published first, and followed when it fails over by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yaoki.errors import YaokiError
from yaoki.telemetry import get_logger

from recovery.sentinel import followed, newest

if TYPE_CHECKING:
    from yaoki.clock import Clock
    from yaoki.config.clusters import Sentinels
    from yaoki.config.model import Config

    from recovery.ports import Flags, SentinelProcesses

_BY = "recovery"
_log = get_logger(__name__)


class SentinelRoutes:
    """Looks at every such group; meant to be called every half second. Instances may do so at the same time."""

    def __init__(self, config: Config, *, sentinels: SentinelProcesses, flags: Flags, clock: Clock) -> None:
        self._groups = {
            name: group.sentinel for name, group in config.redis_groups.items() if group.sentinel is not None
        }
        self._sentinels = sentinels
        self._flags = flags
        self._clock = clock
        self._unknown: set[str] = set()

    @property
    def needed(self) -> bool:
        """There is such a group."""
        return bool(self._groups)

    async def look(self) -> None:
        """Publish what Sentinel has decided. Who the master is stays as it was while that is not known."""
        for name, settings in self._groups.items():
            try:
                await self._follow(name, settings)
            except YaokiError as error:
                if name not in self._unknown:
                    _log.warning("master not followed", group=name, error=error.message)
                self._unknown.add(name)
            else:
                self._unknown.discard(name)

    async def _follow(self, group: str, settings: Sentinels) -> None:
        published = await self._flags.route(group)  # read first: what a run publishes meanwhile has a higher epoch
        view = newest(settings, await self._sentinels.views(settings))
        route = followed(group, published, view, self._clock.now())
        if route is not None:
            await self._flags.publish_route(route, by=_BY)
            _log.info("master followed", group=group, master=str(view.master), config_epoch=view.config_epoch)
