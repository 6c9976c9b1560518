"""What a Train worker leaves behind, read where the trial runs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest
import torch

from prefine_ray.core.errors import DamagedFileError
from prefine_ray.core.provenance import made_on
from prefine_ray.core.tensor_files import load_tree
from prefine_ray.experiment.cells import Cell, Pack
from prefine_ray.experiment.job import CurveRecorder, TrainingJob
from prefine_ray.experiment.replicates import shared_inputs
from prefine_ray.methods.prefine.learner import PrefineLearner
from prefine_ray.methods.prefine.settings import FineTuneSettings
from prefine_ray.orchestration import training
from prefine_ray.orchestration.failures import PackError
from prefine_ray.orchestration.training import _recover_storage, read_checkpoint, write_checkpoint
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
    assert found.machine == made_on()
    for name, value in learner.policies().state_dict().items():
        torch.testing.assert_close(found.policies.state_dict()[name], value, rtol=0, atol=0)


def test_a_checkpoint_knows_no_device(tmp_path: Path):
    """Written where the learner has a GPU, read by a trial without one: tensors are kept without their place."""
    learner, recorder = trained(2)
    write_checkpoint(tmp_path, learner, recorder, pd.DataFrame(), wall_s=1.0)
    assert not list(tmp_path.glob("*.pt"))
    resumed = small_learner(weights=(5.0,))
    resumed.load_state_dict(load_tree(tmp_path / "state.safetensors")["learner"])
    resumed.train(6, CurveRecorder(PACK))
    learner.train(6, recorder)
    for name, value in learner.policies().state_dict().items():
        torch.testing.assert_close(resumed.policies().state_dict()[name], value, rtol=0, atol=0)


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
    job = TrainingJob(PACK, shared_inputs("data.hdf5", "d", "base.safetensors", "b"))
    training._train({"job": job, "watch": None, "counterfactual_actors": []})
    assert reported == [107.0]


@pytest.mark.parametrize("name", ["state.safetensors", "curves.parquet", "watched.parquet", "population.safetensors"])
@pytest.mark.parametrize("change", ["cut", "flip", "missing"])
def test_a_damaged_checkpoint_is_named_and_the_fit_begins_again(tmp_path: Path, name: str, change: str):
    folder = tmp_path / "pack" / "checkpoint_1"
    folder.mkdir(parents=True)
    learner, recorder = trained(2)
    write_checkpoint(folder, learner, recorder, pd.DataFrame({"step": [2]}), wall_s=1.0)
    snapshot = {"checkpoint_results": [{"checkpoint_dir_name": "checkpoint_1"}]}
    (tmp_path / "pack" / "checkpoint_manager_snapshot.json").write_text(json.dumps(snapshot))
    _recover_storage(tmp_path / "pack")
    assert folder.exists()
    damage(folder / name, change)
    with pytest.raises(DamagedFileError, match=re.escape(name) if change != "missing" else "not a whole checkpoint"):
        read_checkpoint(folder)
    _recover_storage(tmp_path / "pack")
    assert not (tmp_path / "pack").exists()


def damage(path: Path, change: str) -> None:
    """Cuts a file in half, flips its middle bit, or removes it."""
    content = bytearray(path.read_bytes())
    if change == "missing":
        path.unlink()
        return
    content[len(content) // 2] ^= 1
    path.write_bytes(content[: len(content) // 2] if change == "cut" else content)


def test_a_registered_checkpoint_that_holds_only_an_error_ends_at_once_with_it(tmp_path: Path):
    folder = tmp_path / "checkpoint_1"
    folder.mkdir()
    (folder / "error.txt").write_text("Traceback\nValueError: too few segments")
    snapshot = {"checkpoint_results": [{"checkpoint_dir_name": "checkpoint_1"}]}
    (tmp_path / "checkpoint_manager_snapshot.json").write_text(json.dumps(snapshot))
    with pytest.raises(PackError, match="too few segments"):
        _recover_storage(tmp_path)


def test_a_list_of_checkpoints_that_points_elsewhere_is_not_followed(tmp_path: Path):
    (tmp_path / "pack").mkdir()
    (tmp_path / "checkpoint_1").mkdir()
    snapshot = {"checkpoint_results": [{"checkpoint_dir_name": "../checkpoint_1"}]}
    (tmp_path / "pack" / "checkpoint_manager_snapshot.json").write_text(json.dumps(snapshot))
    _recover_storage(tmp_path / "pack")
    assert not (tmp_path / "pack").exists()
    assert (tmp_path / "checkpoint_1").exists()
