"""A method and an axis from a test file, through a sweep into rows, table, front plot and `--help`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).parents[2]
CONFIG = {
    "name": "toy",
    "tasks": ["BallRun"],
    "methods": ["prefine", "toy"],
    "weights": [0, 5],
    "toy_rates": [0.5, 2],
    "seeds": 2,
    "data": {"episodes": 60, "draws": "shared"},
    "preferences": {"num_preferred": 10, "num_dispreferred": 5},
    "finetune": {"steps": 20, "batch_size": 32, "advanced": {"log_every": 5, "checkpoint_every": 10}},
    "toy": {"steps": 15},
    "evaluation": {"episodes": 3},
}


def run_with_toy(folder: Path, program: str, *arguments: str) -> str:
    """What a program prints that imports the toy method before it does anything else."""
    command = [sys.executable, "-c", f"import sys\nimport tests.toy.toy_method\n{program}", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=540, env=environment)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


PREFINE = "from prefine_ray.cli.parser import main\nsys.exit(main(sys.argv[1:]))"
FRONTS = """
from prefine_ray.analysis.plots.fronts import front_page
from prefine_ray.analysis.plots.style import weight_colors
from prefine_ray.analysis.rows import load_results
from prefine_ray.analysis.summary import summarize
from pathlib import Path
summary = summarize(load_results(Path(sys.argv[1])))
figure = front_page(summary, summary.variants[0], weight_colors(summary.cells["weight"]))
print([text.get_text() for axes in figure.axes for text in axes.texts])
"""


def test_help_names_the_method_and_the_axis(tmp_path: Path):
    text = run_with_toy(
        tmp_path, PREFINE.replace("sys.exit(main(sys.argv[1:]))", "main(sys.argv[1:])"), "sweep", "--help"
    )
    assert "toy (Toy cloner)" in text
    assert "toy_rates" in text


@pytest.mark.ray
def test_a_sweep_with_a_method_and_an_axis_of_ones_own(finished: tuple[Path, str], tmp_path: Path):
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(CONFIG))
    data = str(finished[0].parent / "data")  # the same as here
    output = run_with_toy(tmp_path, PREFINE, "sweep", "toy.yaml", "--results", "results", "--data-dir", data)
    trials = pd.read_parquet(tmp_path / "results" / "trials.parquet")
    assert set(trials["status"]) == {"finished"}
    toys = trials[trials["method"] == "toy"]
    assert sorted(toys["toy_rate"]) == [0.5, 0.5, 2.0, 2.0]
    assert set(toys["steps"]) == {15}
    assert set(trials.loc[trials["method"] == "prefine", "toy_rate"]) == {0.0}
    for text in (output, (tmp_path / "results" / "tables" / "summary.md").read_text()):
        assert "Toy cloner (rate=2)" in text
    assert "Toy cloner (rate=0.5)" in run_with_toy(tmp_path, FRONTS, "results")
