"""A search as a user starts it, on real Ray and real simulators: run, interrupted, resumed, grown, reported."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
import yaml

from prefine_ray.analysis.search.table import read_search
from prefine_ray.cli.parser import main
from prefine_ray.experiment.config import parse_config
from prefine_ray.experiment.search_config import load_search_config
from prefine_ray.results.folder import ResultsDir
from tests.small_sweep import finish, prefine

COMMON = {
    "tuning_seeds": 2,
    "preferences": {"num_preferred": 10, "num_dispreferred": 5},
    "finetune": {"steps": 12, "batch_size": 32, "advanced": {"log_every": 5}},
    "data": {"episodes": 60},
    "evaluation": {"episodes": 2},
}
ONE_TASK = {
    **COMMON,
    "name": "one",
    "tasks": ["BallRun"],
    "data": {"episodes": 60, "draws": "shared"},
    "search": {
        "trials": 1,
        "round": 1,
        "space": {"weight": {"low": 0.5, "high": 50, "log": True}, "learning_rate": {"low": 1e-4, "high": 1e-3}},
        "early_stopping": "asha",
        "first_rung": 5,
    },
}
TWO_TASKS = {
    **COMMON,
    "name": "two",
    "tasks": ["BallRun", "HopperVelocity"],
    "preferred": ["best", "random"],
    "thresholds": "all",
    "base": "clone",
    "base_steps": 200,
    "search": {
        "trials": 3,
        "round": 1,
        "space": {"weight": [1, 5, 20], "selection.rule": ["none", "likely"], "selection.share": [0.3, 0.6]},
        "start": {"weight": 5, "selection.rule": "likely", "selection.share": 0.6},
        "early_stopping": "tasks",
        "first_rung": 1,
        "reduction_factor": 2,
    },
}


def written(results: Path) -> dict[Path, int]:
    """When each finished pack was written."""
    return {path: path.stat().st_mtime_ns for path in (results / "parts" / "trials").glob("[!.]*")}


def test_a_search_of_one_task_runs_grows_and_is_reported(tmp_path, capsys):
    def run(*words: str | Path) -> str:
        return finish(prefine(tmp_path, *map(str, words)))

    config, results = tmp_path / "search.yaml", tmp_path / "results"
    config.write_text(yaml.safe_dump(ONE_TASK))
    options = ("--results", results, "--data-dir", tmp_path / "data")
    run("search", config, *options)
    first = written(results)
    assert len(first) == 1
    output = run("search", config, *options, "--trials", "2")
    assert written(results).items() >= first.items()
    assert len(written(results)) == 2
    assert "2 trials ended, 0 of them failed" in output
    trials = read_search(ResultsDir(results), load_search_config(results / "config.yaml")).trials
    assert trials["number"].tolist() == [0, 1]
    assert trials["steps"].tolist()[0] == 12  # the first round runs in full
    assert trials["steps"].tolist()[1] in (5, 12)
    packs = ResultsDir(results).read_grid().drop_duplicates("number")["pack"]
    rows = [ResultsDir(results).read_part("episodes", name) for name in packs]
    assert [sorted(set(part["step"])) for part in rows] == [[5, 12], [5, 12] if trials["steps"][1] == 12 else [5]]
    assert all(set(part["seed"]) == {2000, 2001} and set(part["split"]) == {"tuning"} for part in rows)
    assert main(["status", str(results)]) == 0
    assert "2 of 2 trials have ended, 0 failed" in capsys.readouterr().out
    (results / "tables" / "trials.md").unlink()
    assert main(["report", str(results)]) == 0
    assert (results / "tables" / "trials.md").exists()
    assert yaml.safe_load((results / "best.yaml").read_text())["finetune"]["steps"] in (5, 12)


@pytest.mark.slow
def test_a_search_of_two_tasks_is_interrupted_within_a_trial_resumes_and_freezes_one_setting(tmp_path):
    config, results = tmp_path / "search.yaml", tmp_path / "results"
    config.write_text(yaml.safe_dump(TWO_TASKS))
    words = ["search", str(config), "--results", str(results), "--data-dir", str(tmp_path / "data")]
    process = prefine(tmp_path, *words)
    for _ in range(1500):  # until the first task of the first trial is on disk
        if written(results) or process.poll() is not None:
            break
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    assert "Resume with: prefine search" in finish(process, status=130)
    before = written(results)
    output = finish(prefine(tmp_path, *words, "--resume"))
    assert written(results).items() >= before.items()  # what had ended was not run again
    assert "3 trials ended, 0 of them failed" in output
    tables = read_search(ResultsDir(results), load_search_config(results / "config.yaml"))
    trials = tables.trials.set_index("number")
    assert trials.loc[0, "weight"] == 5
    assert trials.loc[0, "tasks"] == 2
    assert set(trials["status"]) <= {"finished", "stopped"}
    assert len(tables.of(0)) == 12  # 2 tasks x 2 kinds x 3 thresholds
    assert (tables.problems["reference"] > 0.1).all()
    grid = ResultsDir(results).read_grid()
    assert set(grid["seed"]) == {2000, 2001}
    assert set(grid["draws"]) == {"own"}
    assert grid["own_base"].all()
    files = sorted((tmp_path / "data").iterdir())  # of each task, a data set and a base for each seed
    assert [sum(path.suffix == suffix for path in files) for suffix in (".hdf5", ".safetensors")] == [4, 4]
    references = ResultsDir(results).read_part("trials", grid["pack"].iloc[0])
    assert references.groupby("threshold")["reference"].nunique().max() == 2  # of each seed's own data
    assert f"score {trials['score'].max():.3f}" in (results / "tables" / "trials.md").read_text()
    setting = yaml.safe_load((results / "best.yaml").read_text())
    frozen = parse_config(yaml.safe_dump({"name": "frozen", "tasks": ["BallRun"], **setting}), "frozen")
    assert tables.best is not None
    assert frozen.axis_values("weight", "BallRun") == (0.0, tables.best["weight"])
    assert frozen.axis_values("selection", "BallRun")[0].rule == tables.best["selection.rule"]
