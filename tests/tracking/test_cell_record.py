from __future__ import annotations

import pandas as pd
import pytest

from prefine_ray.experiment.cells import Cell
from prefine_ray.methods.selection import ALL
from prefine_ray.tracking.cell_record import CellRows


def cell_rows(method: str = "prefine", **axes) -> CellRows:
    """A cell of BallRun with two evaluation episodes of cost 15 and 50."""
    known = {"preferred": "best", "num_preferred": 5, "label_noise": 0.0, "threshold": 20.0, "weight": 5.0}
    values = {name: value for name, value in {**known, **axes}.items() if value is not None}
    cell = Cell("c", method, "BallRun", seed=3, experiment_seed=0, episodes=2, axes=values)
    stage = {"stage": "base" if cell.method == "base" else "finetuned"}
    scores = [{"return": 500.0, "cost": cost, "terminated": False} for cost in (15.0, 50.0)]
    trial = {**cell.identity, "status": "finished", "error": "", "steps": 9}
    return CellRows(trial, pd.DataFrame(), pd.DataFrame([{**cell.identity, **stage, **row} for row in scores]), 0)


NOTHING = {"preferred": None, "num_preferred": None, "label_noise": None, "threshold": None, "weight": None}


@pytest.mark.parametrize(
    ("axes", "label"),
    [
        ({}, "BallRun prefine seed 3 (best, N_p=5, 20, w=5)"),
        ({"label_noise": 0.5}, "BallRun prefine seed 3 (best, N_p=5, noise=0.5, 20, w=5)"),
        ({"selection": ALL, "counterfactuals": "learner"}, "BallRun prefine seed 3 (best, N_p=5, 20, w=5)"),
        ({"counterfactuals": "actors"}, "BallRun prefine seed 3 (best, N_p=5, 20, actors, w=5)"),
        ({"method": "trac", "weight": None}, "BallRun trac seed 3 (best, N_p=5, 20)"),
        ({**NOTHING, "method": "bc_safe", "threshold": 10.0}, "BallRun bc_safe seed 3 (10)"),
        ({**NOTHING, "method": "bc_all"}, "BallRun bc_all seed 3"),
    ],
)
def test_labels_say_what_tells_cells_apart(axes, label):
    assert cell_rows(**axes).label == label


def test_a_policy_with_a_threshold_is_scored_at_it():
    scores = cell_rows().evaluation()
    assert (scores["violation_rate"], scores["catastrophe_rate"]) == (0.5, 0.5)
    assert scores["normalized_cost"] == pytest.approx(65 / 2 / 20)


@pytest.mark.parametrize("axes", [{**NOTHING, "method": "bc_all"}, {**NOTHING, "method": "base"}])
def test_a_policy_without_a_threshold_is_scored_at_each_of_the_tasks(axes):
    scores = cell_rows(**axes).evaluation()
    rates = {threshold: scores[f"violation_rate_{threshold}"] for threshold in (10, 20, 40)}
    assert rates == {10: 1.0, 20: 0.5, 40: 0.5}
    assert "violation_rate" not in scores
    assert "threshold" not in cell_rows(**axes).params()
