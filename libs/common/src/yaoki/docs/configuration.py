"""`docs/configuration.md` and `schema/yaoki.schema.json`: what may stand in a `yaoki.yaml`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import inspect

from yaoki.config.extensions import installed
from yaoki.config.forms import FORMS, Address
from yaoki.config.model import Config
from yaoki.config.targets import Target
from yaoki.docs.docstrings import described
from yaoki.docs.schemas import components, structs
from yaoki.docs.words import default_words, form_of, type_words

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA_PATH = "schema/yaoki.schema.json"
INTRODUCTION = """\
# Configuration

One YAML file, `yaoki.yaml`, read by every process. Every mistake in it is reported at once, each with its line, what
was found and what was expected; the process then ends with status 2 and has started nothing. Unknown keys and keys
that stand twice are mistakes.

For completion and checks in an editor, begin the file with

```yaml
# yaml-language-server: $schema=schema/yaoki.schema.json
```

## How values are written

| form | expected |
|---|---|
"""
SECRETS = """\
| secret | `env:NAME` or `file:/absolute/path`; never the secret itself |

A process resolves the secrets that it uses when it starts, and does not start when one is missing or empty. A final
newline of a file is dropped. A file that others may read or write is refused (`chmod o-rwx`), except below
`/run/secrets`, where container runtimes mount secrets with mode 0444. Secrets never appear in messages, logs or
events.

## Keys
"""


def configuration_page() -> str:
    """The reference as Markdown."""
    forms = [f"| {name} | {form.expected} |" for name, form in sorted(FORMS.items())]
    return "\n".join([INTRODUCTION + "\n".join(forms), SECRETS, *_sections()]).rstrip() + "\n"


def configuration_schema() -> str:
    """The JSON Schema as text."""
    kinds = installed().kinds
    schemas = components([Config, *kinds.values()], "#/$defs/{name}")
    schemas["Address"] = {"type": "string", "pattern": r"^(\[[0-9A-Fa-f:.]+\]|[^:\[\]/@]+):[0-9]{1,5}$"}
    schemas["Target"] = {
        "description": described(Target).summary,
        "anyOf": [{"$ref": f"#/$defs/{kind.__name__}"} for kind in kinds.values()],
        "discriminator": {"propertyName": "kind"},
    }
    _allow_shorthands(schemas)
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://yaoki.dev/schema/yaoki.schema.json",
        "title": "yaoki.yaml",
        "$ref": "#/$defs/Config",
        "$defs": schemas,
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"


def _allow_shorthands(schemas: dict[str, dict[str, Any]]) -> None:
    for info in structs([Config]):
        field = getattr(info.cls, "shorthand", "")
        name = info.cls.__name__
        if field:
            full = schemas[name]
            short = full["properties"][field]
            schemas[name] = {"description": full.pop("description"), "anyOf": [short, full]}


def _sections() -> Iterator[str]:
    kinds = installed().kinds
    held = {info.cls: info for info in structs([Config, *kinds.values()])}
    for kind in _in_order(held, [*kinds.values()]):
        if kind is Address:
            continue
        info = held[kind]
        yield f"### {kind.__name__}\n\n{described(kind).text}\n"
        if kind is Target:
            yield f"`kind` is required and adds keys: {', '.join(_link(tag, cls) for tag, cls in kinds.items())}.\n"
        elif issubclass(kind, Target):
            yield f"`kind: {info.tag}`; also takes the keys of [Target](#target).\n"
        elif info.tag_field:
            yield f"Chosen by `{info.tag_field}: {info.tag}`.\n"
        yield "| key | type | default | meaning |\n|---|---|---|---|"
        texts = described(kind).fields
        for field in info.fields:
            if kind is not Target and issubclass(kind, Target) and field.name in Target.__struct_fields__:
                continue
            words = type_words(field.type)
            default = default_words(field, form_of(field.type))
            yield f"| `{field.encode_name}` | {words} | {default} | {texts.get(field.name, '')} |"
        yield ""


def _link(text: str, kind: type) -> str:
    return f"[`{text}`](#{kind.__name__.lower()})"


def _in_order(held: dict[type, inspect.StructType], kinds: list[type[Target]]) -> list[type]:
    """The configuration first, then each struct after the one that holds it; probe kinds where targets stand."""
    order: list[type] = []

    def visit(kind: type) -> None:
        if kind in order:
            return
        order.append(kind)
        if kind is Target:
            for probe_kind in kinds:
                visit(probe_kind)
            return
        for field in held[kind].fields:
            for inner in held:
                if f"[{inner.__name__}]" in type_words(field.type):
                    visit(inner)

    visit(Config)
    return order
