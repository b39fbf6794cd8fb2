"""`docs/events.md`: every event, request and reply, with examples to copy."""

from __future__ import annotations

import inspect as python
import sys
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING

import msgspec
from msgspec import inspect

from yaoki.commands import REQUESTS
from yaoki.docs.docstrings import described
from yaoki.docs.examples import example
from yaoki.docs.schemas import structs
from yaoki.docs.words import default_words, type_words
from yaoki.events import EVENT_TYPES
from yaoki.messaging.envelope import event_headers
from yaoki.subjects import kebab

if TYPE_CHECKING:
    from collections.abc import Iterator

    from yaoki.commands import Request
    from yaoki.events import Event

PREFIX = "yaoki"
_OWN_NAMES = {"agent": "<agent>", "application": "app-<application>"}
INTRODUCTION = """\
# Events and requests

Every message body is one JSON object. Subjects begin with the configured prefix, `yaoki` by default. Readers of
events ignore fields that they do not know; requests with unknown fields are refused, so that a misspelt option is
not silently dropped. Fields without a default are required.

To see everything that happens: `nats sub 'yaoki.evt.>'`.
"""


def events_page() -> str:
    """The whole page."""
    return "\n".join([INTRODUCTION, *_headers(), *_events(), *_requests(), *_shared_structs()]).rstrip() + "\n"


def subject_of(event: type[Event]) -> str:
    """Subject pattern with the entity's field in angle brackets."""
    context = event.context or "<run_kind>"
    return f"{PREFIX}.evt.{context}.<{event.entity_field}>.{kebab(event.__name__)}"


def service_of(request: type[Request]) -> str:
    """The service's token; what several processes answer in their own name is in angle brackets."""
    return request.service or _OWN_NAMES.get(request.__module__.rpartition(".")[2], "<worker>")


def _headers() -> Iterator[str]:
    headers = event_headers(
        event_id="0193c9a2-7b1e-7cc4-9d0a-5b0f3f1f2a10",
        source="/health-probe/prober-1",
        event_type=f"{PREFIX}.probe.failure-detected",
        subject="orders-db",
        at=datetime(2026, 1, 31, 9, 30, tzinfo=UTC),
        correlation="0193c9a2-79f0-7a55-b7a1-0c6f9d1f4e03",
        causation="0193c9a2-79f0-7a55-b7a1-0c6f9d1f4e02",
        traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    )
    yield "## Headers\n"
    yield "CloudEvents 1.0 in binary mode. `ce-type` is the subject without the entity and without `evt`."
    yield "`yaoki-correlation` is the incident or run, `yaoki-causation` the message that caused this one.\n"
    yield _block("text", "\n".join(f"{name}: {value}" for name, value in headers.items()))


def _events() -> Iterator[str]:
    yield "## Events\n"
    for module, kinds in groupby(EVENT_TYPES, key=lambda kind: kind.__module__):
        yield f"### {module.rpartition('.')[2]}\n\n{_module_text(module)}\n"
        for kind in kinds:
            yield f"#### {kind.__name__}\n\n{described(kind).text}\n\nSubject: `{subject_of(kind)}`\n"
            yield from _fields(kind)
            yield _block("json", _pretty(example(kind)))


def _requests() -> Iterator[str]:
    yield "## Requests\n"
    yield "A refusal carries the headers `Nats-Service-Error-Code` (400, 404, 409, 500, 503) and"
    yield "`Nats-Service-Error`, a sentence that says what was found, what was expected and what to do.\n"
    for kind in REQUESTS:
        subject = f"{PREFIX}.api.{service_of(kind)}.{kind.verb}"
        body = msgspec.json.encode(example(kind, required_only=True)).decode()
        yield f"### {kind.__name__}\n\n{described(kind).text}\n"
        yield f"Subject: `{subject}`. Reply: [{kind.reply.__name__}](#{kind.reply.__name__.lower()}).\n"
        yield from _fields(kind)
        options = " --replies 0" if kind.every_instance else ""
        lines = [f"nats req{options} {_shell(subject)} '{_quoted(body)}'"]
        if kind.durable:
            lines.append(f"nats pub {_shell(f'{PREFIX}.cmd.{service_of(kind)}.{kind.verb}')} '{_quoted(body)}'")
        yield _block("sh", "\n".join(lines))


def _shared_structs() -> Iterator[str]:
    """Replies, and what events and requests hold."""
    yield "## Structs\n"
    tops = [*EVENT_TYPES, *REQUESTS]
    held = structs([*tops, *(request.reply for request in REQUESTS)])
    for kind in sorted((info.cls for info in held if info.cls not in tops), key=lambda kind: kind.__name__):
        yield f"### {kind.__name__}\n\n{described(kind).text}\n"
        yield from _fields(kind)


def _fields(kind: type) -> Iterator[str]:
    info = inspect.type_info(kind)
    if not isinstance(info, inspect.StructType) or not info.fields:
        yield "It has no fields.\n"
        return
    if info.array_like:
        yield f"On the wire it is a list: {', '.join(f'`{field.name}`' for field in info.fields)}.\n"
    texts = described(kind).fields
    yield "| field | type | default | meaning |\n|---|---|---|---|"
    for field in info.fields:
        meaning = texts.get(field.name, "").replace("|", "\\|")
        yield f"| `{field.encode_name}` | {type_words(field.type)} | {default_words(field)} | {meaning} |"
    yield ""


def _module_text(module: str) -> str:
    return python.cleandoc(sys.modules[module].__doc__ or "")


def _pretty(body: object) -> str:
    return msgspec.json.format(msgspec.json.encode(body), indent=2).decode()


def _block(language: str, text: str) -> str:
    return f"```{language}\n{text}\n```\n"


def _shell(subject: str) -> str:
    """Angle brackets mean something to a shell."""
    return f"'{subject}'" if "<" in subject else subject


def _quoted(body: str) -> str:
    return body.replace("'", "'\\''")
