"""Have every instance of the application give back memory that nothing refers to."""

from __future__ import annotations

from recovery.actions.application_command import ApplicationCommandKind


class CollectGarbage(ApplicationCommandKind):
    """The SDK in the application carries it out and says what it freed."""

    name = "collect-garbage"
    disruptive = False
    command = "collect-garbage"
