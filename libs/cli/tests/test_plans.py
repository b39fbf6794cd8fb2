"""`yaoki plan`, as a person types it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from yaoki.dr import PlanLibrary
from yaoki_cli.plans import app

VALUES = ["--set", "database=orders-db", "--set", "backup=orders"]


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = app(list(words))
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_check_without_names_looks_at_every_plan(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "check")

    assert (status, err) == (0, "")
    assert [line.split(":")[0] for line in out.splitlines()] == PlanLibrary().names()


def test_check_says_every_mistake_of_every_plan_and_ends_with_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "own.yaml").write_text("name: own\nsteps: [{id: a, do: nonsense}]\n", encoding="utf-8")

    status, out, err = run(capsys, "check", "own", "nobody", "unknown", "--plans", str(tmp_path))

    assert status == 2
    assert out.startswith("unknown: valid")
    for part in ("title: found nothing", "steps[0].timeout: found nothing", "there is no nobody.yaml"):
        assert part in err


def test_show_names_the_hash_that_approvals_name(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "show", "database_corruption", *VALUES)

    expected = PlanLibrary().load("database_corruption", {"database": "orders-db", "backup": "orders"})
    assert status == 0
    assert f"hash {expected.plan.digest()}" in out
    assert "examples stand for" not in out
    assert 'backup.restore {"target":"orders","backup_id":"${choose-backup.backup_id}"}, until RestoreCompleted' in out


def test_show_draws(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "show", "unknown", "--mermaid")

    assert status == 0
    assert out.startswith("flowchart TD\n")


def test_dry_run_needs_every_value_and_what_the_configuration_has(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    config = tmp_path / "yaoki.yaml"
    config.write_text("targets: {orders-db: {kind: tcp, host: localhost, port: 1}}\n", encoding="utf-8")

    status, _, err = run(capsys, "dry-run", "database_corruption")
    assert (status, "params.backup: found nothing" in err) == (2, True)

    status, out, err = run(capsys, "dry-run", "database_corruption", *VALUES, "--config", str(config))
    assert (status, out) == (2, "")
    assert "step choose-backup do: found 'orders', expected a name out of backup.targets" in err
    assert "orders-db" not in err

    status, out, err = run(capsys, "dry-run", "database_corruption", *VALUES)
    assert (status, err) == (0, "")
    assert out.splitlines()[-1] == "nothing was ordered"


@pytest.mark.parametrize("words", [["plan", "show", "nobody"], ["plan", "show", "unknown", "--set", "x"]])
def test_what_is_asked_wrongly_is_said_in_one_sentence(words: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "yaoki_cli", *words], capture_output=True, text=True, check=False)  # noqa: S603 - our own module

    assert done.returncode == 1
    assert done.stderr.startswith("yaoki: ")


def test_the_plan_and_the_lines_of_the_guide_are_right(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """What people copy has to work."""
    guide = (Path(__file__).parents[3] / "docs" / "disaster-recovery.md").read_text(encoding="utf-8")
    example = re.search(r"```yaml\n(name: shop\n.*?)```", guide, re.DOTALL)
    lines = [line.split("#")[0].split()[2:] for line in guide.splitlines() if line.startswith("yaoki plan ")]
    assert example is not None
    assert [line[0] for line in lines] == ["check", "show", "show", "dry-run"]
    (tmp_path / "shop.yaml").write_text(example[1], encoding="utf-8")

    assert run(capsys, "check", "shop", "--plans", str(tmp_path))[:2] == (0, "shop: valid, 4 steps, about 320s\n")
    for line in lines:
        assert run(capsys, *line[: line.index("--config") if "--config" in line else None])[0] == 0
