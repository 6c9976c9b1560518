from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from prefine_ray.experiment.cells import Cell
from prefine_ray.tracking.cell_record import CellRows


def cell_rows(**axes) -> CellRows:
    """A cell of BallRun with two evaluation episodes of cost 15 and 50."""
    fields = {"method": "prefine", "preferred": "best", "num_preferred": 5, "label_noise": 0.0, "threshold": 20.0}
    cell = Cell(**{"name": "c", "task": "BallRun", "weight": 5.0, "seed": 3, **fields, **axes})
    stage = {"stage": "base" if cell.method == "base" else "finetuned"}
    scores = [{"return": 500.0, "cost": cost, "terminated": False} for cost in (15.0, 50.0)]
    trial = {**cell.identity, "status": "finished", "error": "", "steps": 9}
    return CellRows(trial, pd.DataFrame(), pd.DataFrame([{**cell.identity, **stage, **row} for row in scores]), 0)


CLONING = {"method": "bc_all", "preferred": "", "num_preferred": 0, "threshold": np.nan, "weight": np.nan}


@pytest.mark.parametrize(
    ("axes", "label"),
    [
        ({}, "BallRun w=5 seed 3 (prefine, best, N_p=5, 20)"),
        ({"label_noise": 0.5}, "BallRun w=5 seed 3 (prefine, best, N_p=5, noise=0.5, 20)"),
        ({"method": "trac", "weight": np.nan}, "BallRun seed 3 (trac, best, N_p=5, 20)"),
        ({**CLONING, "method": "bc_safe", "threshold": 10.0}, "BallRun seed 3 (bc_safe, 10)"),
        (CLONING, "BallRun seed 3 (bc_all)"),
    ],
)
def test_labels_say_what_tells_cells_apart(axes, label):
    assert cell_rows(**axes).label == label


def test_a_policy_with_a_threshold_is_scored_at_it():
    scores = cell_rows().evaluation()
    assert (scores["violation_rate"], scores["catastrophe_rate"]) == (0.5, 0.5)
    assert scores["normalized_cost"] == pytest.approx(65 / 2 / 20)


@pytest.mark.parametrize("axes", [CLONING, {**CLONING, "method": "base"}])
def test_a_policy_without_a_threshold_is_scored_at_each_of_the_tasks(axes):
    scores = cell_rows(**axes).evaluation()
    rates = {threshold: scores[f"violation_rate_{threshold}"] for threshold in (10, 20, 40)}
    assert rates == {10: 1.0, 20: 0.5, 40: 0.5}
    assert "violation_rate" not in scores
    assert "threshold" not in cell_rows(**axes).params()
