"""`prefine tasks check` as a user runs it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from prefine_ray.cli.parser import main
from tests.own_tasks import TOY, table_restored
from tests.toy.toy_envs import DEFINITION


@pytest.fixture(autouse=True)
def _table():
    with table_restored():
        yield


def written(folder: Path, env: str) -> str:
    definition = {**DEFINITION, "env": f"toy_envs:{env}", "folder": str(TOY)}
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump({"name": "own", "tasks": ["Toy"], "task_definitions": {"Toy": definition}}))
    return str(path)


def test_a_good_task_passes_and_is_listed(tmp_path, capsys):
    assert main(["tasks", "check", "--config", written(tmp_path, "Walk")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Toy: toy_envs:Walk"
    assert [line.split()[:2] for line in lines[1:]] == [
        ["ok", f"{what}:"] for what in ("spaces", "episodes", "seeds", "copies", "pictures")
    ]


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ("NoCost", "FAILED  episodes: Toy: no cost: info has no 'cost' but 'hazard'"),
        ("GlobalRandom", "FAILED  seeds: the same seed and actions give other numbers"),
        ("Camera", "FAILED  definition: "),
    ],
)
def test_a_bad_task_fails_with_the_reason(env, expected, tmp_path, capsys):
    assert main(["tasks", "check", "--config", written(tmp_path, env)]) == 1
    assert expected in capsys.readouterr().out


def test_a_task_is_checked_by_name(capsys):
    assert main(["tasks", "check", "BallRun"]) == 0
    assert main(["tasks", "check"]) == 1
    assert main(["tasks", "check", "BalRun"]) == 1
    assert "Did you mean 'BallRun'?" in capsys.readouterr().out


def test_a_command_on_a_task_takes_its_definition(tmp_path, capsys):
    config = written(tmp_path, "Walk")
    status = main(["evaluate", "--task", "Toy", "--config", config, "--policy", str(tmp_path / "none.safetensors")])
    assert status == 2
    assert "none.safetensors" in capsys.readouterr().err
