"""Secrets are referenced, resolved where needed, and never shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from yaoki.config import ConfigErrors, Secret, load_config, load_despite_missing_secrets
from yaoki.errors import FatalError

if TYPE_CHECKING:
    from pathlib import Path


def password(path: Path, reference: str, **options: Any) -> Secret:
    """Load a file whose NATS password is `reference`."""
    path.write_text(f"nats: {{user: a, password: '{reference}'}}\n", encoding="utf-8")
    secret = load_config(path, **options).nats.password
    assert secret is not None
    return secret


def test_a_secret_from_a_file_loses_the_final_newline(tmp_path: Path) -> None:
    """Editors add it; servers refuse it."""
    file = tmp_path / "secret"
    file.write_text("s3cret\n", encoding="utf-8")
    file.chmod(0o600)

    assert password(tmp_path / "y.yaml", f"file:{file}").reveal() == "s3cret"


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602])
def test_a_secret_file_open_to_others_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    """The message is the command that repairs it."""
    file = tmp_path / "secret"
    file.write_text("s3cret", encoding="utf-8")
    file.chmod(mode)

    with pytest.raises(ConfigErrors, match=f"chmod o-rwx {file}") as caught:
        password(tmp_path / "y.yaml", f"file:{file}")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "it is empty"), (b"\n", "it is empty"), (b"\xff\xfe", "not UTF-8 text")]
)
def test_a_secret_file_without_a_secret_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    """An empty password would fail much later, and elsewhere."""
    file = tmp_path / "secret"
    file.write_bytes(content)
    file.chmod(0o600)

    with pytest.raises(ConfigErrors, match=reason):
        password(tmp_path / "y.yaml", f"file:{file}")


@pytest.mark.parametrize("reference", ["file:/nowhere/at/all", "env:YAOKI_NOT_SET", "env:YAOKI_EMPTY"])
def test_a_reference_that_leads_nowhere_is_a_mistake_at_load(tmp_path: Path, reference: str) -> None:
    """Better at start than in the middle of a recovery."""
    with pytest.raises(ConfigErrors, match=reference):
        password(tmp_path / "y.yaml", reference, environ={"YAOKI_EMPTY": ""})


@pytest.mark.parametrize("literal", ["hunter2", "ENV:NAME", "env:", "env:1X", "file:relative", "$NAME", "12345"])
def test_a_literal_secret_is_refused_without_showing_it(tmp_path: Path, literal: str) -> None:
    """What looks like no reference may be the secret itself."""
    with pytest.raises(ConfigErrors, match="put it into an environment variable or a file") as caught:
        password(tmp_path / "y.yaml", literal)
    assert f"found '{literal}'" not in str(caught.value)
    assert "literal value (not shown)" in str(caught.value)


def test_secrets_that_this_process_does_not_need_stay_unresolved(tmp_path: Path) -> None:
    """No host has to hold the secrets of all others."""
    secret = password(tmp_path / "y.yaml", "env:ELSEWHERE", environ={}, needs=("targets.*",))

    assert not secret.resolved
    with pytest.raises(FatalError, match=r"env:ELSEWHERE was not loaded here"):
        secret.reveal()


def test_a_secret_shows_its_reference_only() -> None:
    """In text, in containers, in structs and in JSON."""
    secret = Secret("env:NAME", "s3cret")

    assert "s3cret" not in f"{secret} {secret!r} {[secret]} {vars(type(secret))}"
    with pytest.raises(TypeError):
        msgspec.json.encode(secret)
    assert msgspec.json.encode(secret, enc_hook=str) == b"\"Secret('env:NAME')\""


def test_whoever_can_work_without_a_secret_is_told_which_are_missing(tmp_path: Path) -> None:
    """The name of the place and of the variable, and the rest of the file as it is."""
    path = tmp_path / "y.yaml"
    path.write_text(
        "targets:\n"
        "  a: {kind: redis, host: a, password: 'env:YAOKI_ABSENT'}\n"
        "  b: {kind: redis, host: b, password: 'env:YAOKI_PRESENT'}\n",
        encoding="utf-8",
    )
    loaded = load_despite_missing_secrets(path, environ={"YAOKI_PRESENT": "s3cret"})

    assert [str(mistake) for mistake in loaded.unresolved] == [
        (
            "line 2: targets.a.password: found the reference env:YAOKI_ABSENT, "
            "expected the environment variable YAOKI_ABSENT to be set and not empty"
        )
    ]
    assert [secret.resolved for secret in loaded.config.secrets()] == [False, True]
    with pytest.raises(ConfigErrors, match="YAOKI_ABSENT"):
        load_config(path, environ={"YAOKI_PRESENT": "s3cret"})


def test_other_mistakes_are_not_forgiven_with_missing_secrets(tmp_path: Path) -> None:
    """All of them are said, the missing secret beside them."""
    path = tmp_path / "y.yaml"
    path.write_text("nats: {user: a, password: 'env:YAOKI_ABSENT', prefix: A B}\n", encoding="utf-8")

    with pytest.raises(ConfigErrors) as refused:
        load_despite_missing_secrets(path, environ={})

    assert [mistake.path for mistake in refused.value.mistakes] == ["nats.password", "nats.prefix"]
