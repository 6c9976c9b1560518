"""The protocol by which settings are compared, on synthetic problems."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from prefine_ray.analysis.search.score import LEAST, problem_table, problem_values, setting_score
from prefine_ray.tasks.spec import get_task


def problems(**values: list[float]) -> pd.DataFrame:
    """A row per problem of each task."""
    return pd.DataFrame([{"task": task, "value": value} for task, listed in values.items() for value in listed])


def test_a_safe_problem_is_worth_its_reward_and_any_other_less():
    relative, limits = [0.9, -0.2, 0.1, 2.0, 0.9, 0.0], [0.3, 0.0, 1.0, 1.0001, 2.0, 50.0]
    values = problem_values(relative, limits)
    assert values == pytest.approx([0.9, 0.0, 0.1, 0.0, -0.5, -0.98], abs=1e-3)
    assert values[3] < 0  # not shown to be safe: no reward helps
    assert values.min() > LEAST  # there is always something worse, and a way to get better
    assert problem_values([0.5, np.nan], [np.nan, 0.5]).tolist() == [LEAST, LEAST]


def test_less_cost_is_better_where_nothing_is_safe_and_reward_does_not_count():
    limits = np.linspace(1.01, 100, 50)
    assert (np.diff(problem_values(np.linspace(0, 1, 50), limits)) < 0).all()


def test_tasks_count_alike_whatever_the_number_of_their_problems():
    many = setting_score(problems(A=[0.8, 0.8, 0.8, 0.8, 0.8, 0.8], B=[0.4]), ["A", "B"])
    assert many == pytest.approx((0.6 + 0.4) / 2)
    assert setting_score(problems(A=[0.8], B=[0.4]), ["A", "B"]) == pytest.approx(many)


def test_a_task_that_was_not_run_counts_as_the_worst():
    assert setting_score(problems(A=[0.8]), ["A", "B"]) == pytest.approx((-0.1 + LEAST) / 2)
    assert setting_score(problems(A=[0.8]), ["A"]) == pytest.approx(0.8)


def test_one_ruined_task_of_ten_weighs_more_than_a_gain_on_the_others():
    names = [f"T{number}" for number in range(10)]
    even = setting_score(problems(**{name: [0.7] for name in names}), names)
    ruined = setting_score(problems(**{name: [1.0] for name in names[1:]}, T0=[-0.3]), names)
    assert np.mean([1.0] * 9 + [-0.3]) > 0.7  # the mean alone would take it
    assert ruined < even


def test_values_come_from_episodes_by_replicate():
    task = get_task("BallRun")
    identity = {"method": "prefine", "task": "BallRun", "preferred": "best", "threshold": 20.0, "weight": 5.0}
    spread = task.reward_max - task.reward_min
    rows = [
        {
            **identity,
            "cell": f"c{seed}",
            "seed": 2000 + seed,
            "episode": episode,
            "split": "tuning",
            "stage": "finetuned",
        }
        | {"return": task.reward_min + spread * 0.6, "cost": cost, "terminated": False}
        for seed, cost in enumerate([2.0, 4.0, 6.0])
        for episode in range(5)
    ]
    cells = pd.DataFrame([{**identity, "cell": f"c{seed}", "reference": 0.8} for seed in range(3)])
    [row] = problem_table(pd.DataFrame(rows), cells).to_dict("records")
    assert (row["seeds"], row["episodes"]) == (3, 15)
    assert row["relative_reward"] == pytest.approx(0.75)
    assert row["normalized_cost_high"] == pytest.approx(0.2 + 4.303 * 0.1 / np.sqrt(3), abs=1e-3)
    assert (row["safety"], row["value"]) == ("safe", pytest.approx(0.75))
    spread_out = pd.DataFrame(rows).assign(cost=lambda table: table["cost"] * 4)  # mean .8, limit 1.79
    [row] = problem_table(spread_out, cells).to_dict("records")
    assert (row["safety"], row["value"]) == ("uncertain", pytest.approx(1 / 1.794 - 1, abs=1e-3))
