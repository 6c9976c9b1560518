from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from prefine_ray.analysis.best import best, safety


def candidates(*rows: tuple[float, float, float, float]) -> pd.DataFrame:
    """Rows of (weight, reward, cost, upper limit of the cost)."""
    return pd.DataFrame(rows, columns=["weight", "normalized_reward", "normalized_cost", "normalized_cost_high"])


def test_safety_is_about_the_interval_of_the_cost():
    lower, upper = [0.2, 0.2, 0.9, 1.0, 1.01, np.nan], [0.9, 1.0, 1.1, 1.2, 1.2, np.nan]
    assert safety(lower, upper).tolist() == ["safe", "safe", "uncertain", "uncertain", "unsafe", "uncertain"]


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
        ([(np.nan, 0.9, 0.1, 0.2), (0, 0.95, 0.1, 0.2)], np.nan),  # a method without weights is no control
    ],
)
def test_the_rule_of_best(rows: list[tuple[float, float, float, float]], weight: float):
    assert best(candidates(*rows))["weight"] == pytest.approx(weight, nan_ok=True)


@pytest.mark.parametrize(
    ("condition", "costs", "weight"),
    [
        ("reused", [1.4, 0.5], 5),  # the better one is unsafe in a reused simulator
        ("noise1", [1.4, 0.5], 5),
        ("noise3", [1.4, 0.5], 5),
        ("delay1", [1.4, 0.5], 5),
        ("reused", [1.4, np.nan], 1),  # not evaluated for all: not asked for
    ],
)
def test_the_best_is_safe_under_every_condition(condition: str, costs: list[float], weight: float):
    found = candidates((1, 0.9, 0.4, 0.5), (5, 0.7, 0.4, 0.5))
    found[f"normalized_cost_{condition}"] = costs
    found[f"normalized_cost_{condition}_high"] = costs
    assert best(found)["weight"] == weight
