"""Sweeps as a user starts them, and their rows compared."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pandas as pd
import yaml

from prefine_ray.results.heartbeat import read_state
from tests.faults import processes
from tests.faults.nodes import environment

CONFIG = {
    "name": "faults",
    "tasks": ["BallRun"],
    "preferred": ["best", "random"],
    "weights": [0, 5],
    "seeds": 2,
    "data": {"episodes": 60},
    "preferences": {"num_preferred": 10, "num_dispreferred": 5},
    "finetune": {"steps": 300, "batch_size": 32, "advanced": {"log_every": 50, "checkpoint_every": 100}},
    "evaluation": {"episodes": 3},
    "resources": {"rollout_actors": 2, "concurrent_trials": 1, "max_population": 4},  # two packs, one after the other
}
CELLS = 2 + 2 * 2 * 2  # base cells and grid cells
KINDS = ("episodes", "curves", "trials")
TIMING = ["wall_s"]  # columns that are not results
T = TypeVar("T")
PROGRESS = ("parts/trials/*.parquet", "ray/train/*/checkpoint_*/state.safetensors")


class Sweep:
    """A results folder, and `prefine sweep` in it as a process of its own."""

    def __init__(self, folder: Path, data: Path, config: dict | None = None):
        self.folder, self._data = folder, data
        self.results = folder / "results"
        self.process: subprocess.Popen | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.configure(config or CONFIG)

    def configure(self, config: dict) -> None:
        (self.folder / "config.yaml").write_text(yaml.safe_dump(config))

    def start(self, *options: str, **variables: str) -> None:
        command = [sys.executable, "-m", "prefine_ray", "sweep", str(self.folder / "config.yaml")]
        command += ["--results", str(self.results), "--data-dir", str(self._data), *options]
        with open(self.folder / "output", "w") as log:
            # Elsewhere than in the repository, since Ray's workers import from the folder where the driver runs.
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment(**variables), cwd=self.folder
            )

    def finish(self, status: int = 0, timeout: float = 1500) -> str:
        """Waits for the end; what it printed."""
        assert self.process is not None
        returned = self.process.wait(timeout)
        assert returned == status, self.output
        return self.output

    @property
    def output(self) -> str:
        return (self.folder / "output").read_text()

    def status(self) -> str:
        """What `prefine status` says of the folder."""
        command = [sys.executable, "-m", "prefine_ray", "status", str(self.results)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def progress(self) -> set[Path]:
        """Finished parts and checkpoints."""
        return {path for pattern in PROGRESS for path in self.results.glob(pattern)}

    def wait_for_training(self) -> None:
        """Until a fit has written its first checkpoint."""
        pattern = "ray/train/*/checkpoint_*/state.safetensors"
        self.wait(lambda: list(self.results.glob(pattern)), "the first checkpoint")

    def wait_for_base_cells(self) -> None:
        """Until the base policy is evaluated; fits begin next."""
        self.wait(lambda: list(self.results.glob("parts/trials/*.parquet")), "the base cells")

    def wait_for_recovery(self) -> float:
        """Seconds until the next checkpoint or finished pack."""
        before, begun = self.progress(), time.monotonic()
        self.wait(lambda: self.progress() - before, "progress after the fault")
        return time.monotonic() - begun

    def wait_for_packs(self) -> None:
        """Until this process, not one before it, runs packs."""
        assert self.process is not None
        pid = self.process.pid
        self.wait(lambda: (state := read_state(self.results)) and state.pid == pid and state.running, "a running pack")

    def wait(self, condition: Callable[[], T], what: str) -> T:
        """The condition's first true value, while the process lives."""

        def alive_and_true() -> T | None:
            assert self.process is not None
            if value := condition():
                return value
            assert self.process.poll() is None, self.output
            return None

        return processes.wait_for(alive_and_true, what, pause=0.02)

    def rows(self, kind: str = "episodes") -> pd.DataFrame:
        rows = pd.read_parquet(self.results / f"{kind}.parquet")
        return rows.drop(columns=[name for name in TIMING if name in rows])

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            processes.kill(*processes.tree(self.process.pid))
            self.process.wait()


def assert_same(sweep: Sweep, reference: Sweep) -> int:
    """Rows, curves and policies are those of the other sweep: none lost, none twice, none half-written.

    Returns:
        The number of episode rows.
    """
    for kind in KINDS:
        pd.testing.assert_frame_equal(sweep.rows(kind), reference.rows(kind), check_exact=True)
    for path in (sweep.results / "parts").rglob("[!.]*.parquet"):
        pd.read_parquet(path)
    parts = pd.concat(pd.read_parquet(path) for path in (sweep.results / "parts" / "trials").glob("[!.]*.parquet"))
    assert parts["cell"].is_unique
    policies, expected = (
        {p.name: p.read_bytes() for p in (s.results / "policies").glob("*")} for s in (sweep, reference)
    )
    assert {name: content for name, content in policies.items() if not name.startswith(".")} == expected
    return len(sweep.rows())


def fill(folder: Path) -> Path:
    """Writes until nothing more fits."""
    path = folder / "filler"
    with contextlib.suppress(OSError), open(path, "wb", buffering=0) as file:
        while True:
            file.write(os.urandom(2**16))
    assert shutil.disk_usage(folder).free < 2**16
    return path
