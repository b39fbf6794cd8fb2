"""The whole rescue as separate processes on real servers, with handles to break it and eyes to watch it."""

from .system import RescueSystem
from .writers import Attempt, DualWriter

__all__ = ["Attempt", "DualWriter", "RescueSystem"]
