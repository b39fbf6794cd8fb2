"""What can go wrong with a server of the stack, as one small tree."""

from __future__ import annotations


class DevStackError(Exception):
    """Base of every error that this package raises on purpose."""


class ServerNotRunningError(DevStackError):
    """An action needs a running server, and no process of it lives."""


class ServerStartError(DevStackError):
    """A server ended, or did not answer, before its deadline; the message carries the end of its log."""


class ServerStopError(DevStackError):
    """Processes of a server were still alive after the deadline of a stop."""


class CommandFailedError(DevStackError):
    """A tool such as initdb or psql ended with a status other than 0; the message carries its output."""


class StackStateError(DevStackError):
    """The directory of a detached stack holds no readable state, or holds one already."""


class UnavailableHereError(DevStackError):
    """This machine, or this user, cannot provide what was asked; the message says what is needed."""
