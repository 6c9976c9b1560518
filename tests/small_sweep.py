"""A whole sweep in miniature, as a user starts it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import yaml

CONFIG = {
    "name": "mini",
    "tasks": ["BallRun", "HopperVelocity"],  # one of each simulator
    "methods": ["prefine", "bc_all", "trac"],  # one that trains in two phases, one without a threshold
    "weights": [0, 5],
    "seeds": 2,
    "tuning_seeds": 1,
    "data": {"episodes": 60, "draws": "shared"},
    "preferences": {"num_preferred": 10, "num_dispreferred": 5},
    "finetune": {"steps": 20, "batch_size": 32, "advanced": {"log_every": 5, "checkpoint_every": 10}},
    "bc": {"steps": 20, "advanced": {"hidden": [32], "checkpoint_every": 10}},
    "trac": {
        "steps": 20,
        "bc_steps": 15,
        "batch_size": 8,
        "segment": 8,
        "advanced": {"hidden": [32], "checkpoint_every": 10},
    },
    "evaluation": {"episodes": 3},
    "task_settings": {"HopperVelocity": {"data": {"episodes": 50}, "finetune": {"beta": 0.2}}},
}
CELLS = 2 * 2 + 2 * (2 * (2 + 1) + 2 + 2)  # base cells; those of prefine, bc_all and trac


def prefine(folder: Path, *words: str) -> subprocess.Popen:
    """A command in a process of its own, outside of any cluster."""
    environment = {k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")}
    command = [sys.executable, "-m", "prefine_ray", *words]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=folder, env=environment, **output)


def start(folder: Path, config: dict, *options: str) -> subprocess.Popen:
    """A sweep in a process of its own, as a user starts it: with relative paths."""
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    places = ["--results", "results", "--data-dir", str(Path("..") / "data")]
    return prefine(folder, "sweep", "config.yaml", *places, *options)


def finish(process: subprocess.Popen, status: int = 0) -> str:
    """What a command printed that ended with this status."""
    try:
        output = process.communicate()[0]
    except BaseException:  # pytest's own time limit
        process.kill()
        raise
    assert process.returncode == status, output
    return output
