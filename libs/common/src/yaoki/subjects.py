"""Every NATS subject of Yaoki is spelled here and nowhere else."""

from __future__ import annotations

import re

import msgspec

from yaoki.errors import RejectedError

_TOKEN = re.compile(r"[a-z0-9][a-z0-9_-]*")
_MAX_TOKEN = 128


def token(value: str, what: str = "name") -> str:
    """Return `value` if it can stand as one token of a subject.

    Publishing to a wildcard is accepted by NATS and reaches nobody, so a name with `*`, `>` or `.` must never
    get into a subject.

    Raises:
        RejectedError: Names `what`, the value and the allowed form.
    """
    if len(value) > _MAX_TOKEN or not _TOKEN.fullmatch(value):
        raise RejectedError(
            f"{what} {value[:_MAX_TOKEN]!r} is not a valid name: expected 1 to {_MAX_TOKEN} of a-z, 0-9, '-' "
            "and '_', starting with a letter or digit"
        )
    return value


def kebab(type_name: str) -> str:
    """`FailureDetected` -> `failure-detected`, as the last token of an event's subject."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", type_name).lower()


class Subjects(msgspec.Struct, frozen=True):
    """Builds subjects under one prefix.

    `evt.<context>.<entity>.<event>`  facts, stored for ever in EVENTS
    `cmd.<service>.<verb>`            orders of people, work queue COMMANDS
    `api.<service>.<verb>`            request-reply
    `live.<...>`                      not stored
    `dlq.<service>`                   what could not be handled
    """

    prefix: str = "yaoki"

    def event(self, context: str, entity: str, event: str) -> str:
        """Subject of one event; `event` in kebab case."""
        return f"{self.prefix}.evt.{token(context, 'context')}.{token(entity, 'entity')}.{token(event, 'event')}"

    def events(self, context: str = "*", entity: str = "*", event: str = "*") -> str:
        """Filter over events; parts left out match everything."""
        return f"{self.prefix}.evt.{context}.{entity}.{event}"

    def all_events(self) -> str:
        """Filter over all events."""
        return f"{self.prefix}.evt.>"

    def run(self, context: str, run_id: str) -> str:
        """The wildcard over one run's journal: what a compare-and-set append is checked against."""
        return f"{self.prefix}.evt.{token(context, 'context')}.{token(run_id, 'run id')}.>"

    def command(self, service: str, verb: str) -> str:
        """Subject of one durable order."""
        return f"{self.prefix}.cmd.{token(service, 'service')}.{token(verb, 'verb')}"

    def api(self, service: str, verb: str) -> str:
        """Subject of one request-reply endpoint."""
        return f"{self.prefix}.api.{token(service, 'service')}.{token(verb, 'verb')}"

    def live(self, *tokens: str) -> str:
        """Subject of something that is not stored."""
        return ".".join([f"{self.prefix}.live", *(token(part, "live subject token") for part in tokens)])

    def dead_letter(self, service: str) -> str:
        """Subject of messages that `service` could not handle."""
        return f"{self.prefix}.dlq.{token(service, 'service')}"
