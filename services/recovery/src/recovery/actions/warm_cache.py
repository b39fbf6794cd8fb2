"""Have every instance of the application load into its cache what users will ask for first."""

from __future__ import annotations

from recovery.actions.application_command import ApplicationCommandKind


class WarmCache(ApplicationCommandKind):
    """Carried out by the loader that the application has registered with the SDK."""

    name = "warm-cache"
    disruptive = False
    command = "warm-cache"
