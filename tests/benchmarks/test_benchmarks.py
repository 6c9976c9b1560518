"""Each benchmark runs, on one task and for a moment; what it prints adds up."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import learning, rollouts, sweep
from benchmarks.measure import Rate, markdown_table
from benchmarks.process_tree import run_watched


def run_rollouts(tmp_path: Path, task: str, *only: str) -> dict[str, Any]:
    output = tmp_path / "rollouts.json"
    brief = ["--seconds", "0.05", "--rounds", "1", "--copies", "4", "--json", str(output)]
    rollouts.main(["--tasks", task, *brief, "--only", *only])
    return json.loads(output.read_text())["tasks"][0]["cpu"]


@pytest.mark.parametrize("task", ["BallRun", "HopperVelocity", "CarGoal1"])
def test_rollouts_of_ours(task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run_rollouts(tmp_path, task, "physics", "vector")
    rates = result["steps_per_s"]
    assert result["of_physics"] == pytest.approx(rates["vector"] / rates["physics"])
    assert rates["vector"] > 0
    assert task in capsys.readouterr().out


@pytest.mark.parametrize("task", ["BallRun", "CarGoal1"])
def test_rollouts_of_a_plain_loop(task: str, tmp_path: Path) -> None:
    result = run_rollouts(tmp_path, task, "single", "plain")
    assert min(result["steps_per_s"].values()) > 0
    assert result["best_peer"] == "plain"


def test_rollouts_of_vector_peers(tmp_path: Path) -> None:
    with_sb3 = ["dummy", "subproc"] if importlib.util.find_spec("stable_baselines3") else []
    result = run_rollouts(tmp_path, "SwimmerVelocity", "rllib", *with_sb3)
    assert min(result["steps_per_s"].values()) > 0
    assert result["best_peer"] in ("rllib", *with_sb3)


def test_the_ratios_are_of_the_medians() -> None:
    rates = {
        "physics": [Rate(10.0, 8.0)],
        "single": [Rate(2.0, 4.0)],
        "vector": [Rate(6.0, 4.0), Rate(100.0, 4.0), Rate(6.0, 4.0)],
        "plain": [Rate(1.0, 1.0), Rate(3.0, 1.0)],
        "dummy": [Rate(1.5, 2.0)],
    }
    result = rollouts.summarise(rates)
    wall, cpu = result["wall"], result["cpu"]
    assert (wall["best_peer"], wall["over_best_peer"]) == ("plain", 3.0)
    assert wall["of_physics"] == 6.0 / 10.0
    assert (cpu["best_peer"], cpu["over_best_peer"], cpu["of_physics"]) == ("dummy", 2.0, 0.5)
    assert cpu["steps_per_s"]["single"] == 4.0
    assert cpu["steps_per_s"]["vector"] == 4.0 * rollouts.cores()


def test_learning(tmp_path: Path) -> None:
    output = tmp_path / "learning.json"
    brief = ["--seconds", "0.02", "--rounds", "1", "--population", "2", "--json", str(output)]
    learning.main([*brief, "--settings", "prefine"])
    (setting,) = json.loads(output.read_text())["settings"]
    assert setting["largest_loss_difference"] < 1e-5
    assert all(milliseconds > 0 for milliseconds in setting["ms_per_step"].values())


@pytest.mark.parametrize("method", ["prefine", "cpl", "trac"])
def test_the_plain_learners_learn(method: str) -> None:
    """Each lowers its own loss, so it is a fair thing to measure."""
    setting = learning.Setting(batch=16, segment=4)
    policy, data = learning.start_policy("BallRun", hidden=(32, 32)), learning.data("BallRun")
    learner = learning.PlainLearner(method, policy, data, learning.SIDES, setting.batch, setting.segment, 1e-3)
    before = [float(learner.loss()) for _ in range(30)]
    learner.train(150)
    after = [float(learner.loss()) for _ in range(30)]
    assert sum(after) < sum(before)


def test_the_work_of_a_sweep(tmp_path: Path) -> None:
    changes = {
        "tasks": ["BallRun"],
        "base": "zoo",
        "weights": [0],
        "seeds": 1,
        "data": {"episodes": 60},
        "preferences": {"num_preferred": 5, "num_dispreferred": 3},
        "finetune": {"steps": 3},
        "evaluation": {"episodes": 2},
    }
    work = sweep.Work(sweep.configs()["quick"](changes), tmp_path)
    work.run()
    assert set(work.cpu_s) == {"collect", "base policy", "evaluate", "train"}
    assert min(work.cpu_s.values()) > 0


def test_a_watched_command_counts_its_children(tmp_path: Path) -> None:
    burn = "import time\nwhile time.process_time() < 2.0: pass"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}], check=True)"
    usage = run_watched([sys.executable, "-c", code], os.environ, tmp_path / "log")
    assert usage.status == 0
    assert usage.total_cpu_s > 0.5
    failing = run_watched([sys.executable, "-c", "print('why'); raise SystemExit(3)"], os.environ, tmp_path / "log")
    assert failing.status == 3
    assert (tmp_path / "log").read_text() == "why\n"


def test_tables_are_aligned() -> None:
    lines = markdown_table(["task", "x"], [["BallRun", "1"], ["A", "1,000"]]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[1] == "|---------|------:|"


def test_help_is_quick_to_read() -> None:
    for name in ("rollouts", "learning", "sweep"):
        done = subprocess.run([sys.executable, "-m", f"benchmarks.{name}", "--help"], capture_output=True, check=True)
        assert b"python -m benchmarks" in done.stdout
