"""`async with` for servers and groups of servers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self


class Lifetime(ABC):
    """Started on entry, gone after exit, also when the start fails half-way.

    Attributes:
        _temporary: The directory is removed at the end, so that an orderly end would be wasted on it.
    """

    _temporary: bool

    @abstractmethod
    async def start(self) -> None:
        """Start, and return when it is usable."""

    @abstractmethod
    async def stop(self) -> None:
        """End in an orderly way and keep the data."""

    @abstractmethod
    async def kill(self) -> None:
        """SIGKILL every process."""

    @abstractmethod
    def discard(self) -> None:
        """Release the ports and remove the directory if it was temporary. Nothing may run any more."""

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.kill()
            self.discard()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await (self.kill() if self._temporary else self.stop())
        self.discard()
