"""The generated pages are current, complete, and hold what programs can rely on."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
import yaml
from yaoki.commands import REQUESTS
from yaoki.docs.__main__ import PAGES, main
from yaoki.docs.asyncapi import asyncapi_document
from yaoki.docs.configuration import configuration_schema
from yaoki.docs.events import events_page
from yaoki.docs.examples import example
from yaoki.events import EVENT_TYPES

ROOT = Path(__file__).parents[4]
EVERY_FIELD = ROOT / "libs/common/tests/config/every_field.yaml"


@pytest.fixture(scope="module")
def asyncapi() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(asyncapi_document())
    return document


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(configuration_schema())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_committed_pages_are_what_the_code_says(capsys: pytest.CaptureFixture[str]) -> None:
    """Run `make docs` when this fails."""
    status = main(["--check", "--root", str(ROOT)])

    assert status == 0, capsys.readouterr().err


def test_a_drifted_page_is_found_and_not_touched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The difference is shown, the status is 1."""
    assert main(["--root", str(tmp_path)]) == 0
    assert main(["--check", "--root", str(tmp_path)]) == 0
    page = tmp_path / "docs/events.md"
    spoilt = page.read_text(encoding="utf-8").replace("FailureDetected", "FailureNoticed")
    page.write_text(spoilt, encoding="utf-8")
    capsys.readouterr()

    assert main(["--check", "--root", str(tmp_path)]) == 1

    errors = capsys.readouterr().err
    assert "docs/events.md: not as generated" in errors
    assert "-#### FailureNoticed" in errors
    assert page.read_text(encoding="utf-8") == spoilt


def test_pages_are_the_same_at_every_run() -> None:
    """No time, no order of a set."""
    assert [page() for page in PAGES.values()] == [page() for page in PAGES.values()]


@pytest.mark.parametrize("kind", [*EVENT_TYPES, *REQUESTS], ids=lambda kind: kind.__name__)
def test_examples_are_valid(kind: type) -> None:
    """What people copy has to work; the short form of requests as well."""
    msgspec.convert(example(kind), type=kind, strict=False)
    msgspec.convert(example(kind, required_only=True), type=kind, strict=False)


def test_every_link_of_the_page_leads_somewhere() -> None:
    """A struct that is named is described."""
    page = events_page()
    headings = {heading.lower() for heading in re.findall(r"^#+ (\w+)$", page, flags=re.MULTILINE)}

    assert set(re.findall(r"\]\(#(\w+)\)", page)) <= headings


def test_every_event_and_request_is_in_the_asyncapi_document(asyncapi: dict[str, Any]) -> None:
    """With the subject that the code publishes to."""
    addresses = {channel["address"] for channel in asyncapi["channels"].values()}

    assert asyncapi["asyncapi"] == "3.0.0"
    assert "yaoki.evt.probe.{target}.failure-detected" in addresses
    assert "yaoki.evt.{run_kind}.{run_id}.step-finished" in addresses
    assert {"yaoki.api.recovery.run", "yaoki.cmd.recovery.run", "yaoki.api.{agent}.status"} <= addresses
    assert {kind.__name__ for kind in (*EVENT_TYPES, *REQUESTS)} <= set(asyncapi["components"]["messages"])


def test_every_reference_of_the_asyncapi_document_resolves(asyncapi: dict[str, Any]) -> None:
    """And every parameter of an address is declared, as AsyncAPI demands."""
    for reference in set(re.findall(r'"\$ref":\s*"#/([^"]+)"', json.dumps(asyncapi))):
        node: Any = asyncapi
        for step in reference.split("/"):
            node = node[step.replace("~1", "/")]
    for channel in asyncapi["channels"].values():
        declared = set(channel.get("parameters", {}))
        assert set(re.findall(r"{(\w+)}", channel["address"] or "")) == declared


def test_examples_of_the_asyncapi_document_satisfy_its_schemas(asyncapi: dict[str, Any]) -> None:
    """The schemas describe what is sent."""
    for name, message in asyncapi["components"]["messages"].items():
        schema = {"$ref": f"#/components/schemas/{name}", "components": asyncapi["components"]}
        jsonschema.Draft202012Validator(schema).validate(message["examples"][0]["payload"])


def test_the_schema_accepts_every_field(validator: jsonschema.Draft202012Validator) -> None:
    """What the loader takes, an editor must not underline."""
    validator.validate(yaml.safe_load(EVERY_FIELD.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("probe.defaults.interval", "30 parsecs"),
        ("probe.defaults.intervall", "30s"),
        ("nats.password", "hunter2"),
        ("nats.replicas", 2),
        ("targets.gateway.port", 0),
        ("targets.gateway.kind", "tpc"),
        ("recovery.chains.nonsense", ["a"]),
        ("agents.pg-a.guards", "mysql"),
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(
    path: str, value: object, validator: jsonschema.Draft202012Validator
) -> None:
    """An editor shows the mistake before anything is started."""
    data = yaml.safe_load(EVERY_FIELD.read_text(encoding="utf-8"))
    *inner, last = path.split(".")
    node = data
    for step in inner:
        node = node[step]
    node[last] = value

    assert not validator.is_valid(data)
