"""The example of an own task, with one without an environment beside it, on real Ray."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from prefine_ray.policies.files import load_policy
from tests.small_sweep import finish, prefine

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_task"
LOGGED = "{env: none, observations: 2, actions: 2, horizon: 50, thresholds: [10], reward_range: data}"
CHANGES = [
    f"task_definitions.Logged={LOGGED}",
    "data.draws=shared",
    "counterfactuals=actors",
    "weights=[5]",
    "base_steps=50",
    "finetune.steps=40",
    "evaluation.episodes=3",
    "evaluation.conditions=[noise1]",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example after two sweeps, on one actor and, of the task with an environment, on two."""
    copy = tmp_path_factory.mktemp("own") / "example"
    shutil.copytree(EXAMPLE, copy)
    subprocess.run([sys.executable, "drive.py", "lane.hdf5"], cwd=copy, check=True)
    for actors, tasks, cells in (("1", "[Lane, Logged]", 10), ("2", "[Lane]", 6)):
        sweep = ["sweep", "lane.yaml", "--results", f"results{actors}", "--actors", actors]
        output = finish(prefine(copy, *sweep, "--set", *CHANGES, f"tasks={tasks}"))
        assert f"{cells} cells finished, 0 of them failed" in output  # two seeds, two weights; and the base of Lane
    return copy


def rows(folder: Path, kind: str) -> pd.DataFrame:
    return pd.read_parquet(folder / f"{kind}.parquet").sort_values(["cell"], kind="stable", ignore_index=True)


def test_rows_do_not_depend_on_the_number_of_actors(folder: Path):
    one, two = (rows(folder / f"results{number}", "episodes") for number in (1, 2))
    pd.testing.assert_frame_equal(one, two)
    assert set(one["task"]) == {"Lane"}
    assert one.groupby("cell").size().min() >= 3
    for cell in one.loc[one["method"] == "prefine", "cell"].unique():
        first, second = (load_policy(folder / f"results{n}" / "policies" / f"{cell}.safetensors") for n in (1, 2))
        for name, values in first.state_dict().items():
            assert values.equal(second.state_dict()[name]), name


def test_the_table_says_what_is_normalised_by_what(folder: Path):
    text = (folder / "results1" / "tables" / "summary.md").read_text()
    assert "Own tasks: Lane R_min 29.08, R_max 179 (the lowest and highest return of the data)" in text
    assert "| Lane " in text
    assert "Not all tasks have results" not in text


def test_the_table_says_that_nothing_was_evaluated_without_an_environment(folder: Path):
    text = (folder / "results1" / "tables" / "offline.md").read_text()
    assert "Nothing was evaluated: Logged has no environment" in text
    assert "| Logged | weight 5 | best      |        10 |" in text
    trials = rows(folder / "results1", "trials")
    assert set(trials.loc[trials["task"] == "Logged", "method"]) == {"prefine"}  # nothing to evaluate the base on


def test_a_folder_is_read_where_the_environment_is_not(folder: Path, tmp_path: Path):
    moved = tmp_path / "moved"
    shutil.copytree(folder / "results1", moved)
    (moved / "tables" / "summary.md").unlink()
    assert "10 of 10 cells ended" in finish(prefine(tmp_path, "status", "moved"))
    assert "Nothing was evaluated: Logged" in finish(prefine(tmp_path, "report", "moved"))
    assert (moved / "tables" / "summary.md").read_text() == (folder / "results1" / "tables" / "summary.md").read_text()


def test_a_policy_of_the_sweep_is_scored_and_drawn(folder: Path):
    episodes = rows(folder / "results1", "episodes")
    cell = episodes.loc[episodes["method"] == "prefine", "cell"].iloc[0]
    chosen = ["--task", "Lane", "--config", "lane.yaml", "--policy", f"results1/policies/{cell}.safetensors"]
    assert "Lane: 3 episodes, mean return" in finish(prefine(folder, "evaluate", *chosen, "--episodes", "3"))
    finish(prefine(folder, "render", *chosen, "--output", "lane.gif", "--steps", "5"))
    assert (folder / "lane.gif").stat().st_size > 100
