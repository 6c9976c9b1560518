"""Policies and data of libraries whose pins do not go with ours: they run in an environment of their own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from prefine_ray.cli.parser import main
from prefine_ray.convert.importing import Imported, ImportOptions, import_file
from prefine_ray.convert.network import PolicyImportError
from prefine_ray.core.errors import PrefineError
from prefine_ray.data.hdf5 import write_dsrl
from prefine_ray.data.trajectories import concatenate
from prefine_ray.tasks.spec import get_task
from tests.clients.run import run_client
from tests.makers import ball_run_episodes

TASK = get_task("BallRun")


@pytest.fixture(scope="module")
def cleanrl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cleanrl")
    run_client("cleanrl_train.py", folder)
    return folder


def acts_as(found: Imported, expected: Path, half: float) -> None:
    """The policy's actions against those that the library itself gave."""
    arrays = np.load(expected)
    np.testing.assert_allclose(found.policy.act(arrays["observations"]), arrays["actions"] / half, atol=1e-5)
    assert found.difference < 1e-5


@pytest.mark.parametrize("name", ["ppo", "sac", "td3"])
def test_cleanrl_s_networks(name, cleanrl):
    found = import_file(cleanrl / f"{name}.pth", TASK, None, ImportOptions(action_range=(-2.0, 2.0)))
    assert found.source == "cleanrl"
    acts_as(found, cleanrl / f"{name}.npz", 2.0)
    if name == "ppo":
        state = torch.load(cleanrl / "ppo.pth", weights_only=True)
        torch.testing.assert_close(found.policy.log_std[0], state["actor_logstd"] - np.log(2.0))
        assert "NormalizeObservation" in found.note


def test_cleanrl_s_ppo_behind_the_numbers_of_its_normalisation(cleanrl, tmp_path):
    arrays = np.load(cleanrl / "ppo.npz")
    mean, var = np.linspace(-1, 1, 7), np.linspace(0.5, 2, 7)
    np.savez(tmp_path / "n.npz", mean=mean, var=var, epsilon=1e-8, clip=10.0)
    options = ImportOptions(action_range=(-2.0, 2.0), normalizer=tmp_path / "n.npz")
    found = import_file(cleanrl / "ppo.pth", TASK, "cleanrl", options)
    raw = (arrays["observations"] * np.sqrt(var + 1e-8) + mean).astype(np.float32)
    np.testing.assert_allclose(found.policy.act(raw), arrays["actions"] / 2, atol=1e-5)
    assert found.note == ""


def test_a_whole_module_is_a_pickle_that_is_refused(cleanrl, tmp_path, capsys):
    words = ["import", str(cleanrl / "whole.pth"), "--task", "BallRun", "-o", str(tmp_path / "p.safetensors")]
    assert main(words) == 2
    assert "is a pickle of more than tensors, which is refused: unpickling runs" in capsys.readouterr().err
    with pytest.raises(PolicyImportError, match=r"cannot be unpickled here \(No module named 'cleanrl'\)"):
        import_file(cleanrl / "whole.pth", TASK, None, ImportOptions(trust=True))


def test_omnisafe_s_policies_with_their_normalizer(tmp_path):
    printed = run_client("omnisafe_train.py", tmp_path, "PPO", "SAC", "DDPG")
    runs = [Path(line.removeprefix("RUN ")) for line in printed.splitlines() if line.startswith("RUN ")]
    for run, (std, squash) in zip(runs, [(False, False), (True, True), (False, True)], strict=True):
        found = import_file(run / "torch_save" / "epoch-2.pt", TASK, None, ImportOptions())
        assert found.source == "omnisafe"
        acts_as(found, run / "actions.npz", 1.0)
        architecture = found.policy.architecture
        assert (architecture.state_dependent_std, architecture.squash) == (std, squash)
    moved = tmp_path / "alone" / "torch_save" / "epoch-2.pt"
    moved.parent.mkdir(parents=True)
    moved.write_bytes((runs[0] / "torch_save" / "epoch-2.pt").read_bytes())
    with pytest.raises(PrefineError, match="give --activation tanh or relu"):
        import_file(moved, TASK, None, ImportOptions())
    assert import_file(moved, TASK, None, ImportOptions(activation="tanh")).difference < 1e-5


def test_osrl_trains_on_our_files_and_dsrl_reads_them(tmp_path):
    episodes = concatenate([ball_run_episodes()] * 3)
    write_dsrl(tmp_path / "data.hdf5", episodes)
    limit = float(np.median(episodes.episode_costs))
    printed = run_client("osrl_bc.py", tmp_path, tmp_path / "data.hdf5", "OfflineBallRun-v0", limit)
    found = json.loads(printed.splitlines()[-1])
    assert (found["steps"], found["episodes"]) == (episodes.lengths.sum(), len(episodes))
    assert found["kept"] == episodes.lengths[episodes.episode_costs <= limit].sum()
    assert "infos/seeds" in found["keys"]
    assert found["last"] < found["first"]
