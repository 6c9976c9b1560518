"""The whole pipeline in miniature, on real Ray, real simulators and a real MLflow store."""

from __future__ import annotations

import json
import shlex
import signal
import time
from pathlib import Path

import pandas as pd
import pytest
import ray
import yaml
from mlflow import MlflowClient

from prefine_ray.cli.parser import main
from prefine_ray.experiment.config import parse_config
from prefine_ray.orchestration.evaluation import evaluation_parts
from prefine_ray.orchestration.prepare import prepare
from prefine_ray.policies.files import PolicyFileError, load_policy
from prefine_ray.results.folder import ResultsDir
from prefine_ray.tracking.store import tracking_uri
from tests.small_sweep import CELLS, CONFIG, finish, prefine, start


def rows(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "results" / "episodes.parquet")


@pytest.mark.parametrize(
    ("cells", "episodes", "actors", "sizes"),
    [
        (20, 5, 2, [10, 10]),  # one part for each actor
        (56, 20, 2, [4] * 14),  # 64 copies hold 3.2 policies
        (1, 20, 4, [1]),
        (3, 100, 1, [1, 1, 1]),  # never less than one policy
    ],
)
def test_cells_are_evaluated_in_parts_that_fill_the_copies_and_the_actors(cells, episodes, actors, sizes):
    parts = evaluation_parts(cells, episodes, 64, actors)
    assert [part.stop - part.start for part in parts] == sizes
    assert [index for part in parts for index in range(cells)[part]] == list(range(cells))


def test_sweep_leaves_rows_policies_tables_and_plots(finished):
    folder, output = finished
    results = folder / "results"
    episodes = rows(folder)
    assert len(episodes) == CELLS * 3
    assert set(episodes["task"]) == {"BallRun", "HopperVelocity"}
    trials = pd.read_parquet(results / "trials.parquet")
    assert len(trials) == CELLS
    assert set(trials["status"]) == {"finished"}
    assert len(list((results / "policies").glob("*.safetensors"))) == 20
    table = (results / "tables" / "summary.md").read_text()
    assert "BallRun" in table
    assert "HopperVelocity" in table
    assert "TraC" in table
    assert "picked on tuning seeds" in table
    assert list((results / "plots").glob("*.png"))
    assert (results / "report.html").stat().st_size > 10_000
    assert "rollout actors" in output  # the computed resources are printed
    assert (
        output.index("best: BallRun threshold 20:")
        < output.index("best: HopperVelocity threshold 40:")
        < output.index("Tables:")
    )


def test_a_task_is_trained_with_its_own_settings(finished):
    folder, _ = finished
    betas = set()
    for path in (folder / "results" / "policies").glob("*.safetensors"):
        made_by = load_policy(path).header.made_by
        if made_by["method"] == "prefine":
            betas.add((made_by["task"], made_by["settings"]["beta"]))
    assert betas == {("BallRun", 0.1), ("HopperVelocity", 0.2)}
    collected = sorted(path.name.rpartition("-")[0] for path in (folder.parent / "data").glob("*.hdf5"))
    assert collected == ["BallRun-60", "HopperVelocity-50"]


def test_sweep_is_in_mlflow(finished):
    results = ResultsDir(finished[0] / "results")
    client = MlflowClient(tracking_uri(results))
    experiment = client.get_experiment_by_name("prefine")
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert len(runs) - len(children) == 1
    assert len(children) == CELLS


def test_interrupted_sweep_on_one_actor_resumes_to_the_same_rows(finished, tmp_path):
    """Neither the interruption nor the number of actors changes them.

    Data and evaluation are done by one actor here, by two there.
    """
    folder = tmp_path / "cut"
    folder.mkdir()
    process = start(folder, {**CONFIG, "tasks": ["BallRun"]}, "--actors", "1")
    while process.poll() is None and not (folder / "results" / "ray" / "train").is_dir():
        time.sleep(0.2)  # until a fit has begun
    process.send_signal(signal.SIGINT)
    output = finish(process, status=130)
    (again,) = (line for line in output.splitlines() if line.startswith("Resume with: "))
    finish(prefine(folder, *shlex.split(again.removeprefix("Resume with: prefine "))))
    expected = rows(finished[0]).query("task == 'BallRun'").reset_index(drop=True)
    pd.testing.assert_frame_equal(rows(folder), expected)


def test_evaluate_gives_the_rows_of_a_cell_again(finished):
    folder, _ = finished
    cell = rows(folder).query("task == 'BallRun' and stage == 'finetuned' and seed == 1").iloc[0]["cell"]
    recorded = rows(folder).query("cell == @cell")
    policy = folder / "results" / "policies" / f"{cell}.safetensors"
    words = ["--task", "BallRun", "--policy", str(policy), "--episodes", "3", "--seed", "1", "--json"]
    scores = json.loads(finish(prefine(folder, "evaluate", *words)))
    assert scores["returns"] == pytest.approx(recorded["return"].tolist())
    assert scores["costs"] == recorded["cost"].tolist()


@pytest.mark.slow  # `test_run_own_task.py` has a sweep with such actors
@pytest.mark.parametrize("mode", ["actors", "closed_loop"])
def test_counterfactual_actors_in_a_sweep(finished, tmp_path, mode):
    folder = tmp_path / mode
    folder.mkdir()
    (folder.parent / "data").symlink_to(finished[0].parent / "data")
    advanced = {**CONFIG["finetune"]["advanced"], "refresh_every": 10, "window_episodes": 3}
    changes = {"methods": ["prefine"], "tasks": ["BallRun"], "seeds": 1, "counterfactuals": mode}
    finish(start(folder, {**CONFIG, **changes, "finetune": {**CONFIG["finetune"], "advanced": advanced}}))
    curves = pd.read_parquet(folder / "results" / "curves.parquet")
    assert set(curves["staleness"]) == {0.0, 5.0, 10.0, 15.0, 19.0}
    assert rows(folder).query("stage == 'finetuned'")["return"].notna().all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"finetune": {"betta": 1}}, "Did you mean 'beta'?"),
        ({"tasks": ["BalRun"]}, "Did you mean 'BallRun'?"),
    ],
    ids=["setting", "task"],
)
def test_a_wrong_configuration_is_one_clear_error_before_ray_starts(tmp_path, capsys, change, message):
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({**CONFIG, **change}))
    assert main(["sweep", str(config), "--results", str(tmp_path / "results")]) == 2
    assert message in capsys.readouterr().err
    assert not ray.is_initialized()


def test_too_few_trajectories_are_one_clear_error_once_ray_runs(finished, tmp_path):
    folder = tmp_path / "sweep"
    folder.mkdir()
    (tmp_path / "data").symlink_to(finished[0].parent / "data")
    few = {"tasks": ["BallRun"], "preferences": {"num_preferred": [10, 61]}}
    output = finish(start(folder, {**CONFIG, **few}), status=2)
    assert "BallRun, threshold 20: 61 safe trajectories" in output
    assert "Traceback" not in output


def test_a_missing_base_policy_is_told_before_data_are_collected(tmp_path):
    config = parse_config(yaml.safe_dump({**CONFIG, "base": "nowhere.safetensors"}), "mini")
    with pytest.raises(PolicyFileError, match=r"nowhere\.safetensors: no such policy file"):
        prepare(config, tmp_path, actors=[])
