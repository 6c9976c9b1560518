from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from prefine_ray.rollouts.scores import SCORES, episode_scores, is_catastrophe, is_violation, score_table
from prefine_ray.tasks.spec import get_task


def test_violations_and_catastrophes():
    costs, fell = np.array([20.0, 21.0, 40.0, 41.0, 0.0]), np.array([False, False, False, False, True])
    assert is_violation(costs, 20.0).tolist() == [False, True, True, True, False]
    assert is_catastrophe(costs, fell, 20.0).tolist() == [False, False, False, True, True]
    assert is_violation([0.0, 1.0], 0.0).tolist() == [False, True]


def test_scores_of_episodes_by_hand():
    task = get_task("BallRun")
    found = episode_scores(task, 10.0, [task.reward_min, task.reward_max], [5.0, 25.0], [False, False])
    assert {name: values.tolist() for name, values in found.items()} == {
        "normalized_reward": [0.0, 1.0],
        "normalized_cost": [0.5, 2.5],
        "violation_rate": [0.0, 1.0],
        "catastrophe_rate": [0.0, 1.0],
    }
    strict = episode_scores(task, 0.0, [task.reward_max] * 2, [0.0, 1.0], [False, False])
    assert strict["normalized_cost"].tolist() == [1.0, 2.0]  # DSRL's C + 1


def test_a_table_is_scored_row_by_row_with_its_task_and_threshold():
    rows = pd.DataFrame(
        {
            "task": ["BallRun", "HopperVelocity", "BallRun"],
            "threshold": [10.0, 40.0, 20.0],
            "return": [300.0, 900.0, 400.0],
            "cost": [15.0, 20.0, np.nan],
            "terminated": [False, True, False],
        },
        index=[7, 3, 9],
    )
    table = score_table(rows)
    assert table.index.tolist() == [7, 3, 9]
    for index, row in rows.iterrows():
        alone = episode_scores(
            get_task(row["task"]), row["threshold"], [row["return"]], [row["cost"]], [row["terminated"]]
        )
        for name in SCORES:
            assert table.loc[index, name] == pytest.approx(alone[name][0], nan_ok=True)
    assert np.isnan(table.loc[9, "normalized_cost"])
