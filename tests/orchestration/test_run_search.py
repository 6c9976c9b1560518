"""A search as a user starts it, on real Ray and a real simulator: run, grown, reported."""

from __future__ import annotations

from pathlib import Path

import yaml

from prefine_ray.analysis.search_report import trial_table
from prefine_ray.results.folder import ResultsDir
from tests.small_sweep import finish, prefine

CONFIG = {
    "name": "mini",
    "tasks": ["BallRun"],
    "tuning_seeds": 2,
    "data": {"episodes": 60},
    "preferences": {"num_preferred": 10, "num_dispreferred": 5},
    "finetune": {"steps": 12, "batch_size": 32, "advanced": {"log_every": 5}},
    "evaluation": {"episodes": 2},
    "search": {
        "trials": 1,
        "round": 1,
        "space": {"weight": {"low": 0.5, "high": 50, "log": True}, "learning_rate": {"low": 1e-4, "high": 1e-3}},
        "early_stopping": "asha",
        "first_rung": 5,
    },
}


def test_a_search_runs_grows_and_is_reported(tmp_path):
    def run(*words: str | Path) -> str:
        return finish(prefine(tmp_path, *map(str, words)))

    config, results = tmp_path / "search.yaml", tmp_path / "results"
    config.write_text(yaml.safe_dump(CONFIG))
    options = ("--results", results, "--data-dir", tmp_path / "data")
    run("search", config, *options)
    parts = results / "parts" / "trials"
    first = {path: path.stat().st_mtime_ns for path in parts.iterdir()}
    assert len(first) == 1
    output = run("search", config, *options, "--trials", "2")
    assert all(path.stat().st_mtime_ns == written for path, written in first.items())
    assert len(list(parts.iterdir())) == 2
    assert "2 trials ended, 0 of them failed" in output
    trials = trial_table(ResultsDir(results))
    assert trials["number"].tolist() == [0, 1]
    assert trials["steps"].tolist()[0] == 12  # the first round runs in full
    assert trials["steps"].tolist()[1] in (5, 12)
    rows = [ResultsDir(results).read_part("episodes", name) for name in trials["trial"]]
    assert [sorted(set(part["step"])) for part in rows] == [[5, 12], [5, 12] if trials["steps"][1] == 12 else [5]]
    assert all(set(part["seed"]) == {1000, 1001} and set(part["split"]) == {"tuning"} for part in rows)
    assert "2 of 2 trials have ended, 0 failed" in run("status", results)
    (results / "tables" / "trials.md").unlink()
    run("report", results)
    assert (results / "tables" / "trials.md").exists()
    assert yaml.safe_load((results / "best.yaml").read_text())["finetune"]["steps"] in (5, 12)
