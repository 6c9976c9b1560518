"""The example with Stable-Baselines3: exactly the commands that its README lists, with less training."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

pytestmark = pytest.mark.timeout(900)
EXAMPLE = Path(__file__).parents[2] / "examples" / "stable_baselines3"
PROGRAMS = {"python": [sys.executable], "prefine": [sys.executable, "-m", "prefine_ray"]}
LESS = {  # what is added to the commands that take long
    "train.py": ["24000"],
    "sweep": ["--set", "finetune.steps=60", "seeds=2", "evaluation.episodes=5"],
}


def commands(text: str) -> list[list[str]]:
    """The commands in the first block of code, as words, without comments."""
    block = re.search(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert block is not None
    return [words for line in block[1].splitlines() if (words := shlex.split(line, comments=True))]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A copy of the example after all commands of its README, and what each printed, by its first two words."""
    folder = tmp_path_factory.mktemp("examples") / "sb3"
    shutil.copytree(EXAMPLE, folder)
    environment = {k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")}
    printed = {}
    for program, *words in commands((EXAMPLE / "README.md").read_text()):
        command = [*PROGRAMS[program], *words, *LESS.get(words[0], [])]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{words}: {done.stdout}\n{done.stderr}"
        printed[f"{program} {words[0]}"] = done.stdout
    return folder, printed


def test_from_nothing_to_a_table_in_under_ten_commands(ran):
    folder, printed = ran
    assert 3 < len(printed) < 10
    assert "FAILED" not in printed["prefine tasks"]
    assert float(re.search(r"random observations: (\S+)", printed["prefine import"])[1]) < 1e-5
    assert "14 cells finished, 0 of them failed" in printed["prefine sweep"]
    table = (folder / "results" / "tables" / "summary.md").read_text()
    assert "| BusLane " in table
    assert "Own tasks: BusLane R_min 0, R_max 115 (as defined)" in table


def test_the_policy_of_stable_baselines3_is_unsafe_and_the_fine_tuned_ones_cost_less(ran):
    rows = pd.read_parquet(ran[0] / "results" / "episodes.parquet")
    costs = rows.groupby("method")["cost"].mean()
    assert costs["base"] > 10
    assert costs["prefine"] < 0.5 * costs["base"]
