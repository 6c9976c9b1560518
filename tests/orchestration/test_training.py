"""What a Train worker leaves behind, read where the trial runs."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from prefine_ray.experiment.cells import Cell, Pack, TaskInputs
from prefine_ray.experiment.job import CurveRecorder, TrainingJob
from prefine_ray.methods.prefine.learner import PrefineLearner
from prefine_ray.methods.prefine.settings import FineTuneSettings
from prefine_ray.orchestration import training
from prefine_ray.orchestration.training import read_checkpoint, write_checkpoint
from tests.makers import small_learner

AXES = {"threshold": 20.0, "weight": 5.0}
SETTINGS = FineTuneSettings(steps=2)
CELL = Cell("cell", "prefine", "BallRun", 0, experiment_seed=0, episodes=1, axes=AXES, settings=SETTINGS)
PACK = Pack("pack", (CELL,))


def trained(steps: int) -> tuple[PrefineLearner, CurveRecorder]:
    """A population of one after some steps, and its curves."""
    learner = small_learner(weights=(5.0,))
    recorder = CurveRecorder(PACK)
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


def test_the_time_of_training_counts_what_is_trained_before_the_first_step(monkeypatch: pytest.MonkeyPatch):
    clock = [0.0]

    def learner_with_clones(*_: object) -> PrefineLearner:
        clock[0] += 100.0  # the clones that the selection asks for
        return small_learner(weights=(5.0,))

    reported = []
    monkeypatch.setattr(training.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(training, "make_learner", learner_with_clones)
    monkeypatch.setattr(training, "_restore", lambda *_: (7.0, pd.DataFrame()))  # of a worker that was lost
    monkeypatch.setattr(training, "_report", lambda *values: reported.append(values[-1]))
    job = TrainingJob(PACK, TaskInputs("data.hdf5", "d", "base.safetensors", "b"))
    training._train({"job": job, "watch": None, "counterfactual_actors": []})
    assert reported == [107.0]
