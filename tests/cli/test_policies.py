"""A policy's way through the commands: cloned, fine-tuned, evaluated, drawn; and pretrained."""

from __future__ import annotations

import json
import shlex
import signal
import time
from functools import partial
from pathlib import Path

import imageio.v3 as iio
import pandas as pd
import pytest
import torch
import yaml

from prefine_ray.cli.parser import main
from prefine_ray.methods import gaussian_cloning
from prefine_ray.policies.files import load_policy
from prefine_ray.tasks.spec import get_task
from tests.small_sweep import finish, prefine

FEW_STEPS = {
    "name": "short",
    "tuning_seeds": 2,  # of a sweep; no policies here
    "preferences": {"num_preferred": 10, "num_dispreferred": 5},
    "counterfactuals": "actors",  # of Ray, or in this process
    "finetune": {"steps": 20, "advanced": {"refresh_every": 5}},
}


def finetune(data_folder: Path, folder: Path) -> list[str]:
    """The words of a short fine-tuning of two seeds."""
    (folder / "short.yaml").write_text(yaml.safe_dump(FEW_STEPS))
    places = ["--data-dir", str(data_folder), "--config", str(folder / "short.yaml"), "--output", str(folder / "tuned")]
    return ["finetune", "--task", "BallRun", "--weight", "5", "--seeds", "0", "1", *places]


@pytest.fixture(scope="module")
def tuned(data_folder, tmp_path_factory) -> Path:
    """The output folder of `prefine finetune --local`, in one thread as the processes of Ray."""
    folder, threads = tmp_path_factory.mktemp("local"), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert main([*finetune(data_folder, folder), "--local"]) == 0
    finally:
        torch.set_num_threads(threads)
    return folder / "tuned"


def test_a_base_policy_is_cloned_from_data(data_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(gaussian_cloning, "CloneConfig", partial(gaussian_cloning.CloneConfig, steps=10))
    output = tmp_path / "base.safetensors"
    assert main(["clone", "--task", "BallRun", "--data-dir", str(data_folder), "--output", str(output)]) == 0
    assert capsys.readouterr().out.strip() == str(output)
    assert load_policy(output).header.task == "BallRun"


def test_every_seed_is_fine_tuned_to_a_file_of_its_own(tuned):
    assert sorted(path.name for path in tuned.iterdir()) == ["curves.csv", "seed0.safetensors", "seed1.safetensors"]
    made_by = load_policy(tuned / "seed1.safetensors").header.made_by
    assert (made_by["weight"], made_by["seed"]) == (5.0, 1)
    assert set(pd.read_csv(tuned / "curves.csv")["seed"]) == {0, 1}


@pytest.mark.ray
def test_ray_train_gives_the_policies_of_this_process(tuned, data_folder, tmp_path):
    """Its actors make the counterfactuals beside it, and the bits are the same."""
    finish(prefine(tmp_path, *finetune(data_folder, tmp_path)))
    for name in ("seed0.safetensors", "seed1.safetensors"):
        here, there = load_policy(tuned / name).state_dict(), load_policy(tmp_path / "tuned" / name).state_dict()
        assert all(here[key].equal(there[key]) for key in here)


def test_scores_are_one_json_object_or_a_table(tuned, capsys):
    command = ["evaluate", "--task", "BallRun", "--policy", str(tuned / "seed0.safetensors"), "--episodes", "3"]
    assert main([*command, "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert (scores["task"], len(scores["returns"]), len(scores["costs"])) == ("BallRun", 3, 3)
    assert set(scores["normalized_cost"]) == set(scores["violation_rate"])
    assert main(command) == 0
    table = capsys.readouterr().out
    assert f"mean return {scores['mean_return']:.2f}" in table
    assert len(table.splitlines()) == 2 + len(get_task("BallRun").thresholds) + 1


def test_scores_under_conditions_stand_beside_the_plain_ones(tuned, capsys):
    command = ["evaluate", "--task", "BallRun", "--policy", str(tuned / "seed0.safetensors"), "--episodes", "3"]
    assert main([*command, "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert main([*command, "--json", "--condition", "noise3,delay1", "noise3"]) == 0
    found = json.loads(capsys.readouterr().out)
    conditions = found.pop("conditions")
    assert found == plain
    assert list(conditions) == ["noise3", "delay1"]
    assert all(set(scores) == set(plain) and scores["returns"] != plain["returns"] for scores in conditions.values())
    assert main([*command, "--condition", "reused"]) == 0
    assert "\nreused: simulator reused over episodes\n" in capsys.readouterr().out
    assert main([*command, "--condition", "noise2"]) == 2
    assert "unknown condition 'noise2'" in capsys.readouterr().err


def test_an_episode_is_drawn(tuned, tmp_path):
    picture = tmp_path / "ball.gif"
    command = ["render", "--task", "BallRun", "--policy", str(tuned / "seed0.safetensors"), "--steps", "5"]
    assert main([*command, "--output", str(picture)]) == 0
    frames = iio.imread(picture)
    assert len(frames) == 5
    assert frames.std() > 0


@pytest.mark.ray
@pytest.mark.slow  # tests/pretrain stops and resumes a run in this process
def test_pretraining_is_stopped_and_resumed_by_the_command_that_it_prints(tmp_path):
    process = prefine(tmp_path, "pretrain", "--task", "BallRun", "--steps", "16000", "--seed", "3")
    while process.poll() is None and not list(tmp_path.glob("runs/BallRun/snapshots/*.safetensors")):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    output = finish(process, status=130)
    assert "Traceback" not in output
    (again,) = (line for line in output.splitlines() if line.startswith("Resume with: "))
    finish(prefine(tmp_path, *shlex.split(again.removeprefix("Resume with: prefine "))))
    assert list((tmp_path / "runs" / "BallRun" / "ladder").glob("*.safetensors"))


def test_a_wrong_file_is_one_clear_error(tmp_path, capsys):
    wrong = tmp_path / "wrong.safetensors"
    wrong.write_text("no policy")
    assert main(["evaluate", "--task", "BallRun", "--policy", str(wrong)]) == 2
    assert capsys.readouterr().err.startswith(f"prefine: error: {wrong}")
