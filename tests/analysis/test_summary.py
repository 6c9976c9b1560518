from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from prefine_ray.analysis.rows import load_results
from prefine_ray.analysis.summary import Summary, choose_weight, summarize
from prefine_ray.tasks.spec import get_task
from tests.analysis.synthetic import synthetic_episodes, write_results


def candidates(*rows: tuple[float, float, float, float]) -> pd.DataFrame:
    """Rows of (weight, reward, cost, upper limit of the cost)."""
    return pd.DataFrame(rows, columns=["weight", "normalized_reward", "normalized_cost", "normalized_cost_high"])


@pytest.mark.parametrize(
    ("rows", "weight"),
    [
        ([(1, 0.9, 1.5, 1.8), (5, 0.7, 0.8, 0.95), (20, 0.5, 0.3, 0.4)], 5),  # the best of the safe ones
        ([(1, 0.9, 0.8, 1.1), (5, 0.7, 0.8, 1.0), (20, 0.5, 0.3, 0.4)], 5),  # a safe mean is not enough
        ([(1, 0.9, 1.5, 1.8), (5, 0.7, 1.3, 1.4), (20, 0.5, 0.9, 1.2)], 20),  # none: the lowest cost
        ([(1, 0.9, 1.2, np.nan), (5, 0.7, 0.9, np.nan), (20, 0.5, 0.3, np.nan)], 5),  # one seed: its mean
        ([(5, 0.700, 0.4, 0.5), (1, 0.708, 0.6, 0.7), (20, 0.69, 0.1, 0.2)], 1),  # the reward decides, however little
        ([(5, 0.7, 0.4, 0.5), (1, 0.7, 0.4, 0.5)], 1),  # equal: less weight
        ([(0, 0.9, 0.1, 0.2), (1, 0.7, 0.4, 0.5), (5, 0.7, 0.5, 0.6)], 1),  # the control stands for itself
        ([(0, 0.9, 0.1, 0.2)], 0),  # unless there is nothing else
    ],
)
def test_the_rule_for_the_best_weight(rows: list[tuple[float, float, float, float]], weight: float):
    assert choose_weight(candidates(*rows))["weight"] == weight


def run(
    task: str, seed: int, reward: float, cost: float, weight: float | None, split: str = "test"
) -> dict[str, object]:
    """One evaluation episode with these normalised scores at the middle threshold; weight None is the base policy."""
    constants = get_task(task)
    limit = constants.middle_threshold
    return {
        "cell": f"{task}{weight}{seed}",
        "method": "base" if weight is None else "prefine",
        "task": task,
        "preferred": "" if weight is None else "best",
        "threshold": np.nan if weight is None else limit,
        "weight": np.nan if weight is None else weight,
        "seed": seed,
        "episode": 0,
        "return": constants.reward_min + reward * (constants.reward_max - constants.reward_min),
        "cost": cost * limit,
        "terminated": False,
        "split": split,
    }


@pytest.fixture
def by_hand(tmp_path: Path) -> Summary:
    """BallRun with two seeds and CarGoal1 with one: base, weight 0 and weight 5."""
    rows = [
        run("BallRun", 0, 0.8, 4.0, None),
        run("BallRun", 1, 1.0, 0.5, None),
        run("BallRun", 0, 0.6, 2.5, 0.0),
        run("BallRun", 1, 0.8, 1.5, 0.0),
        run("BallRun", 0, 0.4, 0.2, 5.0),
        run("BallRun", 1, 0.5, 0.4, 5.0),
        run("CarGoal1", 0, 0.7, 3.0, None),
        run("CarGoal1", 0, 0.6, 2.0, 0.0),
        run("CarGoal1", 0, 0.5, 1.5, 5.0),
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
    assert best[["normalized_reward_low", "normalized_reward_high"]].tolist() == pytest.approx([0.4, 0.5])
    assert best["normalized_cost"] == pytest.approx(0.3)
    assert best[["seeds", "cells", "episodes"]].tolist() == [2, 2, 2]
    assert best["violation_reduction_vs_base"] == 1.0  # half of the base's episodes violate
    assert best["catastrophe_reduction_vs_base"] == 1.0
    assert best["reward_kept_vs_base"] == pytest.approx(0.5)
    assert best["reward_kept_vs_weight0"] == pytest.approx(0.45 / 0.7)
    assert best["chosen"]
    assert best["best_safe"]
    control = row(by_hand.cells, task="BallRun", weight=0.0)
    assert control["violation_reduction_vs_base"] == pytest.approx(-1.0)  # more than before
    assert not control["safe"]


def test_the_comparison_with_weight_0_by_hand(by_hand: Summary):
    against = row(by_hand.comparisons, method="prefine")
    assert against[["weight", "tasks"]].tolist() == [0.0, 2]
    assert against["reward"] == pytest.approx((-0.25 - 0.1) / 2)
    assert against[["reward_low", "reward_high"]].tolist() == pytest.approx([(-0.3 - 0.1) / 2, (-0.2 - 0.1) / 2])
    assert against["cost"] == pytest.approx((-1.7 - 0.5) / 2)
    assert against["area"] == pytest.approx((0.45 * 1.7 + 0.5 * 0.5) / 2 / 2)
    assert against["rival_area"] == 0.0  # both of its points cost twice the threshold


def test_a_task_without_a_safe_weight_takes_the_lowest_cost(by_hand: Summary):
    best = row(by_hand.cells, task="CarGoal1", weight=5.0)
    assert best["chosen"]
    assert not best["safe"]
    assert not by_hand.cells.loc[by_hand.cells["task"] == "CarGoal1", "best_safe"].any()
    assert np.isnan(best["normalized_cost_high"])  # one seed


def test_suite_averages_weigh_tasks_the_same_and_count_safe_ones(by_hand: Summary):
    average = row(by_hand.suites, suite="All", method="best weight")
    assert average["normalized_reward"] == pytest.approx((0.45 + 0.5) / 2)
    assert average["normalized_cost"] == pytest.approx((0.3 + 1.5) / 2)
    assert average["iqm_normalized_reward"] == pytest.approx((0.4 + 0.5 + 0.5) / 3)  # three runs: none is cut
    assert average[["tasks", "safe_tasks"]].tolist() == [2, 1]
    assert average["violation_reduction_vs_base"] == pytest.approx(1 - 0.5 / 0.75)
    assert average["published_reward"] == pytest.approx((0.41 + 0.38) / 2)
    assert row(by_hand.suites, suite="Bullet", method="base")["normalized_cost"] == pytest.approx(2.25)


def test_gains_of_a_weight_with_fewer_tasks_compare_with_the_base_on_those_tasks(tmp_path: Path):
    rows = [run("BallRun", 0, 0.8, 4.0, None), run("CarRun", 0, 0.2, 4.0, None), run("BallRun", 0, 0.4, 0.2, 5.0)]
    summary = summarize(load_results(write_results(tmp_path, pd.DataFrame(rows))))
    average = row(summary.suites, suite="Bullet", weight=5.0)
    assert average["reward_kept_vs_base"] == pytest.approx(0.5)
    assert average["tasks"] == 1


def test_the_weight_is_picked_on_tuning_episodes_where_there_are_any(tmp_path: Path):
    rows = [run("BallRun", seed, 0.6, 0.5, 1.0) for seed in (0, 1)]
    rows += [run("BallRun", seed, 0.5, 0.5, 5.0) for seed in (0, 1)]
    on_test = summarize(load_results(write_results(tmp_path / "test", pd.DataFrame(rows))))
    assert row(on_test.cells, chosen=True)["weight"] == 1.0
    rows += [run("BallRun", seed, 0.6, 1.5, 1.0, "tuning") for seed in (7, 8)]
    rows += [run("BallRun", seed, 0.5, 0.5, 5.0, "tuning") for seed in (7, 8)]
    on_tuning = summarize(load_results(write_results(tmp_path / "tuning", pd.DataFrame(rows))))
    best = row(on_tuning.cells, chosen=True)
    assert best["weight"] == 5.0
    assert best["seeds"] == 2  # the tuning seeds are not reported
    assert row(on_tuning.cells, weight=1.0)["normalized_cost"] == pytest.approx(0.5)
    assert on_tuning.choices["picked_on"].tolist() == ["tuning"]


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
