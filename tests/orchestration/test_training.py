"""What a Train worker leaves behind, read where the trial runs."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from prefine_ray.experiment.cells import Cell, Pack
from prefine_ray.experiment.job import CurveRecorder
from prefine_ray.methods.prefine.learner import PrefineLearner
from prefine_ray.orchestration.training import read_checkpoint, write_checkpoint
from tests.makers import small_learner


def trained(steps: int) -> tuple[PrefineLearner, CurveRecorder]:
    """A population of one after some steps, and its curves."""
    learner = small_learner(weights=(5.0,))
    recorder = CurveRecorder(
        Pack(
            "pack",
            (
                Cell(
                    "cell",
                    "prefine",
                    "BallRun",
                    seed=0,
                    experiment_seed=0,
                    episodes=1,
                    axes={"threshold": 20.0, "weight": 5.0},
                ),
            ),
        )
    )
    learner.train(steps, recorder)
    return learner, recorder


def test_a_checkpoint_holds_the_outcome_of_a_fit(tmp_path: Path):
    learner, recorder = trained(4)
    write_checkpoint(tmp_path, learner, recorder, pd.DataFrame({"step": [2]}), wall_s=1.5)
    found = read_checkpoint(tmp_path)
    assert (found.step, found.wall_s, found.watched["step"].tolist()) == (4, 1.5, [2])
    assert found.curves["step"].tolist() == [0, 1, 2, 3]
    for name, value in learner.policies().state_dict().items():
        torch.testing.assert_close(found.policies.state_dict()[name], value, rtol=0, atol=0)


def test_a_worker_with_a_gpu_is_read_by_a_trial_without_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    learner, recorder = trained(2)
    with monkeypatch.context() as patch:
        patch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")  # as if tensors lay there
        write_checkpoint(tmp_path, learner, recorder, pd.DataFrame(), wall_s=1.0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match="CUDA"):
        torch.load(tmp_path / "state.pt", weights_only=True)
    assert read_checkpoint(tmp_path).step == 2
