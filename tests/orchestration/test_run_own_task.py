"""The example of an own task, with one without an environment beside it, on real Ray."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from prefine_ray.results.folder import ResultsDir
from tests.small_sweep import finish, prefine

pytestmark = pytest.mark.timeout(1200)  # the two runs are one fixture
EXAMPLE = Path(__file__).parents[2] / "examples" / "own_task"
LOGGED = "{env: none, observations: 2, actions: 2, horizon: 50, thresholds: [10], reward_range: data}"
CHANGES = [
    f"task_definitions.Logged={LOGGED}",
    "data.draws=shared",
    "counterfactuals=actors",
    "weights=[5]",
    "base_steps=50",
    "finetune.steps=40",
    "finetune.advanced.log_every=5",
    "finetune.advanced.refresh_every=10",
    "evaluation.episodes=3",
    "evaluation.conditions=[noise1]",
    "tasks=[Lane,Logged]",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example after a sweep on one actor, and a copy in which two have evaluated again what needs no training."""
    copy = tmp_path_factory.mktemp("own") / "example"
    shutil.copytree(EXAMPLE, copy)
    subprocess.run([sys.executable, "drive.py", "lane.hdf5"], cwd=copy, check=True)
    _sweep(copy, actors=1)
    shutil.copytree(copy / "results1", copy / "results2")
    forget_evaluations(ResultsDir(copy / "results2"))
    _sweep(copy, actors=2)
    return copy


def _sweep(folder: Path, actors: int) -> None:
    words = ["sweep", "lane.yaml", "--results", f"results{actors}", "--actors", str(actors), "--set", *CHANGES]
    output = finish(prefine(folder, *words))
    assert "10 cells finished, 0 of them failed" in output  # two tasks, seeds and weights; and the base of Lane


def forget_evaluations(results: ResultsDir) -> None:
    """Removes the rows of the base policy, and those of all policies under the condition."""
    (base,) = [name for name in results.packs() if set(results.read_part("trials", name)["method"]) == {"base"}]
    files = [*results.root.glob(f"parts/*/{base}.parquet"), *results.root.glob("parts/conditions/*.parquet")]
    assert {file.parent.name for file in files} == {"episodes", "trials", "conditions"}
    for file in (*files, results.root / "episodes.parquet"):
        file.unlink()


def rows(folder: Path, kind: str) -> pd.DataFrame:
    return pd.read_parquet(folder / f"{kind}.parquet").sort_values(["cell"], kind="stable", ignore_index=True)


def test_rows_do_not_depend_on_the_number_of_actors(folder: Path):
    one, two = (rows(folder / f"results{number}", "episodes") for number in (1, 2))
    pd.testing.assert_frame_equal(one, two)
    assert set(one["task"]) == {"Lane"}
    assert one.groupby(["cell", "stage"]).size().min() >= 3


def test_actors_make_counterfactuals_for_the_policy_of_one_interval_before(folder: Path):
    curves = rows(folder / "results1", "curves")
    assert set(curves["task"]) == {"Lane", "Logged"}
    for _, of_task in curves.groupby("task"):
        assert set(of_task["staleness"]) == {0.0, 5.0, 10.0, 15.0, 19.0}


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
