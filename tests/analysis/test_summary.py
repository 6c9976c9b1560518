from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from prefine_ray.analysis import estimates
from prefine_ray.analysis.rows import episode_table, load_results, run_table
from prefine_ray.analysis.statistics.intervals import t_limits
from prefine_ray.analysis.summary import Summary, summarize
from tests.analysis.synthetic import one_episode, synthetic_episodes, write_results


@pytest.fixture
def by_hand(tmp_path: Path) -> Summary:
    """BallRun with two seeds and CarGoal1 with one: base, weight 0 and weight 5."""
    rows = [
        one_episode("BallRun", 0, 0.8, 4.0, None),
        one_episode("BallRun", 1, 1.0, 0.5, None),
        one_episode("BallRun", 0, 0.6, 2.5, 0.0),
        one_episode("BallRun", 1, 0.8, 1.5, 0.0),
        one_episode("BallRun", 0, 0.4, 0.2, 5.0),
        one_episode("BallRun", 1, 0.5, 0.4, 5.0),
        one_episode("CarGoal1", 0, 0.7, 3.0, None),
        one_episode("CarGoal1", 0, 0.6, 2.0, 0.0),
        one_episode("CarGoal1", 0, 0.5, 1.5, 5.0),
    ]
    return summarize(load_results(write_results(tmp_path, pd.DataFrame(rows))))


def row(frame: pd.DataFrame, **where: object) -> pd.Series:
    for column, value in where.items():
        frame = frame[frame[column].isna() if value is None else frame[column] == value]
    assert len(frame) == 1
    return frame.iloc[0]


def test_summary_of_one_task_by_hand(by_hand: Summary):
    best = row(by_hand.cells, task="BallRun", weight=5.0)
    assert best["normalized_reward"] == pytest.approx(0.45)
    margin = 12.706 * 0.05  # Student's t with one degree of freedom
    limits = best[["normalized_reward_low", "normalized_reward_high"]].tolist()
    assert limits == pytest.approx([0.45 - margin, 0.45 + margin], abs=1e-4)
    assert best["normalized_cost_low"] == 0.0  # costs are not negative
    assert best["normalized_cost"] == pytest.approx(0.3)
    assert best[["seeds", "cells", "episodes"]].tolist() == [2, 2, 2]
    assert best["violation_reduction_vs_base"] == 1.0  # half of the base's episodes violate
    assert best["catastrophe_reduction_vs_base"] == 1.0
    assert best["reward_kept_vs_base"] == pytest.approx(0.5)
    assert best["reward_kept_vs_weight0"] == pytest.approx(0.45 / 0.7)
    assert best["chosen"]
    assert best["safety"] == "uncertain"  # two seeds say little
    assert not best["best_safe"]
    control = row(by_hand.cells, task="BallRun", weight=0.0)
    assert control["violation_reduction_vs_base"] == pytest.approx(-1.0)  # more than before
    assert control["safety"] == "uncertain"


def test_the_comparison_with_weight_0_by_hand(by_hand: Summary):
    against = row(by_hand.comparisons, method="prefine")
    assert against[["weight", "tasks"]].tolist() == [0.0, 2]
    assert against["reward"] == pytest.approx((-0.25 - 0.1) / 2)
    assert against["cost"] == pytest.approx((-1.7 - 0.5) / 2)
    ball = (0.4 * 1.8 + 0.5 * 1.6) / 2  # of the best weight alone, not of all weights together
    assert against["area"] == pytest.approx((ball + 0.5 * 0.5) / 2 / 2)
    assert against["rival_area"] == pytest.approx((0.8 * 0.5 / 2 + 0.0) / 2 / 2)
    assert np.isnan(against["reward_low"])  # one of the tasks has one seed


def test_a_task_without_a_safe_weight_takes_the_lowest_cost(by_hand: Summary):
    best = row(by_hand.cells, task="CarGoal1", weight=5.0)
    assert best["chosen"]
    assert best["safety"] == "uncertain"  # one seed has no interval
    assert not by_hand.cells.loc[by_hand.cells["task"] == "CarGoal1", "best_safe"].any()
    assert np.isnan(best["normalized_cost_high"])  # one seed


def test_suite_averages_weigh_tasks_the_same_and_count_safe_ones(by_hand: Summary):
    average = row(by_hand.suites, suite="All", method="best weight")
    assert average["normalized_reward"] == pytest.approx((0.45 + 0.5) / 2)
    assert average["normalized_cost"] == pytest.approx((0.3 + 1.5) / 2)
    assert average["iqm_normalized_reward"] == pytest.approx((0.4 + 0.5 + 0.5) / 3)  # three runs: none is cut
    assert average[["tasks", "safe_tasks", "uncertain_tasks"]].tolist() == [2, 0, 2]
    assert average["violation_reduction_vs_base"] == pytest.approx(1 - 0.5 / 0.75)
    assert average["published_reward"] == pytest.approx((0.41 + 0.38) / 2)
    assert row(by_hand.suites, suite="Bullet", method="base")["normalized_cost"] == pytest.approx(2.25)


def test_gains_of_a_weight_with_fewer_tasks_compare_with_the_base_on_those_tasks(tmp_path: Path):
    rows = [
        one_episode("BallRun", 0, 0.8, 4.0, None),
        one_episode("CarRun", 0, 0.2, 4.0, None),
        one_episode("BallRun", 0, 0.4, 0.2, 5.0),
    ]
    summary = summarize(load_results(write_results(tmp_path, pd.DataFrame(rows))))
    average = row(summary.suites, suite="Bullet", weight=5.0)
    assert average["reward_kept_vs_base"] == pytest.approx(0.5)
    assert average["tasks"] == 1


def test_the_weight_is_picked_on_tuning_episodes_where_there_are_any(tmp_path: Path):
    rows = [one_episode("BallRun", seed, 0.6, 0.5, 1.0) for seed in (0, 1)]
    rows += [one_episode("BallRun", seed, 0.5, 0.5, 5.0) for seed in (0, 1)]
    on_test = summarize(load_results(write_results(tmp_path / "test", pd.DataFrame(rows))))
    assert row(on_test.cells, chosen=True)["weight"] == 1.0
    rows += [one_episode("BallRun", seed, 0.6, 1.5, 1.0, "tuning") for seed in (7, 8)]
    rows += [one_episode("BallRun", seed, 0.5, 0.5, 5.0, "tuning") for seed in (7, 8)]
    on_tuning = summarize(load_results(write_results(tmp_path / "tuning", pd.DataFrame(rows))))
    best = row(on_tuning.cells, chosen=True)
    assert best["weight"] == 5.0
    assert best["seeds"] == 2  # the tuning seeds are not reported
    assert row(on_tuning.cells, weight=1.0)["normalized_cost"] == pytest.approx(0.5)
    assert on_tuning.choices["picked_on"].tolist() == ["tuning"]


def test_warnings_tell_of_rows_of_different_versions(tmp_path: Path, two_tasks: pd.DataFrame):
    folder = write_results(tmp_path, two_tasks, with_training=True)
    trials = pd.read_parquet(folder / "trials.parquet")
    engines = ["mujoco 2.3.3", "pybullet 3.2.6", "pybullet 3.2.7"]
    trials = trials.assign(commit="abc", physics=[engines[row % 3] for row in range(len(trials))])
    trials.to_parquet(folder / "trials.parquet")
    told = " ".join(summarize(load_results(folder)).warnings)
    assert "rows come from different versions: pybullet 3.2.6; pybullet 3.2.7." in told


def test_warnings_tell_of_folders_of_different_commits(tmp_path: Path, two_tasks: pd.DataFrame):
    folders = []
    for commit in ("abc", "def"):
        rows = two_tasks.assign(cell=two_tasks["cell"] + commit)
        folders.append(write_results(tmp_path / commit, rows, with_training=True))
        trials = pd.read_parquet(folders[-1] / "trials.parquet")
        trials.assign(commit=commit).to_parquet(folders[-1] / "trials.parquet")
        assert "side by side" not in " ".join(load_results(folders[-1]).gaps)
    assert "Rows of different versions stand side by side: abc; def." in load_results(folders).gaps


def test_warnings_tell_of_missing_tasks_few_seeds_pooled_and_failed_cells(tmp_path: Path, two_tasks: pd.DataFrame):
    pooled = two_tasks[two_tasks["weight"] == 5.0].assign(cell=lambda rows: rows["cell"] + "-other")
    folder = write_results(tmp_path, pd.concat([two_tasks, pooled]), with_training=True)
    trials = pd.read_parquet(folder / "trials.parquet")
    trials["status"] = ["failed"] + ["finished"] * (len(trials) - 1)
    trials.to_parquet(folder / "trials.parquet")
    told = " ".join(summarize(load_results(folder)).warnings)
    for words in (
        "2 of 10; missing: AntVelocity",
        "Fewer than 5 seeds (N = 3)",
        "2 row(s) pool cells",
        "1 of 30 cells",
    ):
        assert words in told


def test_enough_seeds_on_all_tasks_need_no_warning(tmp_path: Path):
    folder = write_results(tmp_path, synthetic_episodes(seeds=5, episodes=1, weights=(0.0,)))
    assert summarize(load_results(folder)).warnings == ()


def test_intervals_do_not_depend_on_what_else_is_there(tmp_path: Path, two_tasks: pd.DataFrame):
    whole = summarize(load_results(write_results(tmp_path / "whole", two_tasks))).cells
    part = summarize(load_results(write_results(tmp_path / "part", two_tasks[two_tasks["task"] == "BallRun"]))).cells
    expected = whole[whole["task"] == "BallRun"].reset_index(drop=True)
    pd.testing.assert_frame_equal(part.reset_index(drop=True), expected)


def test_a_hundred_times_the_policies_take_no_more_passes_over_the_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    calls = []

    def counted(means: object, *others: object) -> object:
        calls.append(np.size(means))
        return t_limits(means, *others)

    monkeypatch.setattr(estimates, "t_limits", counted)
    passes = []
    for number in (4, 400):
        weights = tuple(float(weight) for weight in range(number))
        runs = run_table(episode_table(synthetic_episodes(tasks=("BallRun",), weights=weights, seeds=2, episodes=1)))
        calls.clear()
        assert len(estimates.policy_rows(runs)) == number + 1  # and the base policy
        passes.append(len(calls))
        assert set(calls) == {number + 1}  # all policies at once
    assert passes[0] == passes[1]
