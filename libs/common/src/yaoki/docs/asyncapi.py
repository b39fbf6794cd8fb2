"""`docs/asyncapi.json`: the same as `docs/events.md`, for programs (AsyncAPI 3.0)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from yaoki.commands import REQUESTS
from yaoki.docs.docstrings import described
from yaoki.docs.events import PREFIX, service_of, subject_of
from yaoki.docs.examples import example
from yaoki.docs.schemas import components
from yaoki.events import EVENT_TYPES
from yaoki.subjects import kebab

if TYPE_CHECKING:
    from yaoki.commands import Request
    from yaoki.events import Event

_VERSION = "1.0.0"


def asyncapi_document() -> str:
    """The document as JSON text."""
    document = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Yaoki",
            "version": _VERSION,
            "description": "Facts and requests of Yaoki on NATS. Subjects begin with the configured prefix.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": _channels(),
        "operations": _operations(),
        "components": {
            "messages": _messages(),
            "messageTraits": {"cloudEvent": {"headers": _headers_schema()}},
            "schemas": components(
                [*EVENT_TYPES, *REQUESTS, *(request.reply for request in REQUESTS)],
                "#/components/schemas/{name}",
            ),
        },
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"


def _channels() -> dict[str, Any]:
    channels: dict[str, Any] = {}
    for event in EVENT_TYPES:
        channels[_channel_of(event)] = _channel(subject_of(event), event, _entity_text(event))
    for request in REQUESTS:
        subject = f"{PREFIX}.api.{service_of(request)}.{request.verb}"
        channels[_api(request)] = _channel(subject, request, "Name of the process that is asked.")
        channels[f"{_api(request)}.reply"] = {"address": None, "messages": _ref_messages(request.reply)}
        if request.durable:
            stored = f"{PREFIX}.cmd.{service_of(request)}.{request.verb}"
            channels[_cmd(request)] = _channel(stored, request, "Name of the process that is ordered.")
    return channels


def _operations() -> dict[str, Any]:
    operations: dict[str, Any] = {}
    for event in EVENT_TYPES:
        operations[f"publish{event.__name__}"] = _operation("send", _channel_of(event), event)
    for request in REQUESTS:
        reply = f"{_api(request)}.reply"
        operations[f"answer{request.__name__}"] = _operation("receive", _api(request), request) | {
            "reply": {
                "address": {"location": "$message.header#/reply", "description": "The inbox of the asker."},
                "channel": {"$ref": f"#/channels/{reply}"},
                "messages": [{"$ref": f"#/channels/{reply}/messages/{request.reply.__name__}"}],
            }
        }
        if request.durable:
            operations[f"carryOut{request.__name__}"] = _operation("receive", _cmd(request), request)
    return operations


def _messages() -> dict[str, Any]:
    replies = {request.reply for request in REQUESTS}
    messages = {kind.__name__: _message(kind) for kind in (*REQUESTS, *replies)}
    for event in EVENT_TYPES:
        messages[event.__name__] = _message(event) | {"traits": [{"$ref": "#/components/messageTraits/cloudEvent"}]}
    return dict(sorted(messages.items()))


def _message(kind: type) -> dict[str, Any]:
    return {
        "name": kind.__name__,
        "summary": described(kind).summary,
        "contentType": "application/json",
        "payload": {"$ref": f"#/components/schemas/{kind.__name__}"},
        "examples": [{"payload": example(kind)}],
    }


def _headers_schema() -> dict[str, Any]:
    text = {"type": "string"}
    names = ("ce-id", "ce-source", "ce-type", "ce-subject", "ce-datacontenttype", "Nats-Msg-Id", "traceparent")
    return {
        "type": "object",
        "properties": {
            "ce-specversion": {"const": "1.0"},
            "ce-time": {"type": "string", "format": "date-time"},
            **dict.fromkeys((*names, "yaoki-correlation", "yaoki-causation"), text),
        },
    }


def _channel(subject: str, kind: type, parameter_text: str) -> dict[str, Any]:
    parameters = re.findall(r"<(\w+)>", subject)
    channel: dict[str, Any] = {
        "address": re.sub(r"<(\w+)>", r"{\1}", subject),
        "messages": _ref_messages(kind),
    }
    if parameters:
        channel["parameters"] = {name: {"description": parameter_text} for name in parameters}
    return channel


def _ref_messages(kind: type) -> dict[str, Any]:
    return {kind.__name__: {"$ref": f"#/components/messages/{kind.__name__}"}}


def _operation(action: str, channel: str, kind: type) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": described(kind).summary,
        "messages": [{"$ref": f"#/channels/{channel}/messages/{kind.__name__}"}],
    }


def _channel_of(event: type[Event]) -> str:
    return f"evt.{event.context or 'run'}.{kebab(event.__name__)}"


def _api(request: type[Request]) -> str:
    return f"api.{_plain(service_of(request))}.{request.verb}"


def _cmd(request: type[Request]) -> str:
    return f"cmd.{_plain(service_of(request))}.{request.verb}"


def _plain(name: str) -> str:
    return name.replace("<", "").replace(">", "")


def _entity_text(event: type[Event]) -> str:
    return described(event).fields.get(event.entity_field, f"The event's field {event.entity_field}.")
