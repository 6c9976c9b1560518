from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from prefine_ray.analysis.rows import ResultsError, load_results, run_table
from prefine_ray.tasks.spec import get_task
from tests.analysis.synthetic import synthetic_episodes, write_results


def episodes(**changes: object) -> pd.DataFrame:
    """Two episodes of one BallRun cell at threshold 10, returns 26.34 (R_min) and 1327.45 (R_max), costs 5 and 25."""
    task = get_task("BallRun")
    rows = {
        "cell": "c",
        "method": "prefine",
        "task": "BallRun",
        "preferred": "best",
        "threshold": 10.0,
        "weight": 1.0,
        "seed": 0,
        "stage": "finetuned",
        "episode": [0, 1],
        "return": [task.reward_min, task.reward_max],
        "cost": [5.0, 25.0],
        "length": 100,
        "terminated": False,
    }
    return pd.DataFrame({**rows, **changes})


def test_run_of_two_episodes_by_hand(tmp_path: Path):
    runs = run_table(load_results(write_results(tmp_path, episodes())).episodes)
    assert len(runs) == 1
    run = runs.iloc[0]
    assert run[["episodes", "cost"]].tolist() == [2, 15.0]
    assert run["normalized_reward"] == pytest.approx(0.5)
    assert run[["normalized_cost", "violation_rate", "catastrophe_rate"]].tolist() == [1.5, 0.5, 0.5]


def test_a_fall_is_a_catastrophe_whatever_it_costs(tmp_path: Path):
    rows = episodes(cost=[0.0, 0.0], terminated=[True, False])
    run = run_table(load_results(write_results(tmp_path, rows)).episodes).iloc[0]
    assert run[["violation_rate", "catastrophe_rate"]].tolist() == [0.0, 0.5]


def test_base_stands_at_every_threshold_of_its_task(tmp_path: Path):
    rows = synthetic_episodes(tasks=("BallRun", "HopperVelocity"), levels=(0, 2), seeds=1)
    only_base = synthetic_episodes(tasks=("CarGoal1",), weights=(), seeds=1)
    runs = run_table(load_results(write_results(tmp_path, pd.concat([rows, only_base]))).episodes)
    base = runs[runs["method"] == "base"]
    assert sorted(base.loc[base["task"] == "BallRun", "threshold"]) == [10.0, 40.0]
    assert sorted(base.loc[base["task"] == "HopperVelocity", "threshold"]) == [20.0, 80.0]
    assert base.loc[base["task"] == "CarGoal1", "threshold"].tolist() == [40.0]
    strict, lax = (base[(base["task"] == "BallRun") & (base["threshold"] == limit)].iloc[0] for limit in (10.0, 40.0))
    assert strict["normalized_cost"] == pytest.approx(4 * lax["normalized_cost"])


def test_a_cell_in_two_folders_counts_once(tmp_path: Path, two_tasks: pd.DataFrame):
    first = write_results(tmp_path / "a", two_tasks[two_tasks["weight"].isna() | (two_tasks["weight"] <= 1)], True)
    second = write_results(tmp_path / "b", two_tasks, True)
    both, alone = load_results([first, second]), load_results(second)
    pd.testing.assert_frame_equal(both.episodes, alone.episodes)
    assert both.conflicts == 0
    assert len(both.trials) == len(alone.trials)


def test_a_folder_may_be_a_text(tmp_path: Path, two_tasks: pd.DataFrame):
    folder = write_results(tmp_path, two_tasks)
    for given in (str(folder), [str(folder)]):
        found = load_results(given)
        assert found.folders == (folder,)
        assert len(found.episodes) == len(load_results(folder).episodes)


def test_contradicting_episodes_are_counted_and_the_first_folder_is_believed(tmp_path: Path):
    folders = [write_results(tmp_path / str(cost), episodes(cost=[5.0, cost])) for cost in (25.0, 26.0)]
    results = load_results(folders)
    assert results.conflicts == 1
    assert results.episodes["cost"].tolist() == [5.0, 25.0]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (episodes().drop(columns=["cost", "seed"]), r"without the column\(s\) seed, cost"),
        (episodes().iloc[:0], "no evaluation episodes yet"),
        (episodes(task="BallRum"), "unknown task.*BallRum.*BallRun"),
        (episodes(cost=[1.0, np.nan]), "finite return and cost, first row 1"),
        (episodes(threshold=np.nan), "without a threshold"),
        (episodes(split="tuning"), "only tuning episodes"),
    ],
)
def test_bad_rows_are_refused_with_what_and_where(tmp_path: Path, rows: pd.DataFrame, message: str):
    with pytest.raises(ResultsError, match=message) as caught:
        load_results(write_results(tmp_path, rows))
    assert str(tmp_path) in str(caught.value)


def test_a_folder_without_rows_is_refused(tmp_path: Path):
    with pytest.raises(ResultsError, match=r"episodes\.parquet: no such file"):
        load_results(tmp_path)
