"""Results folders as a sweep writes them, and what an MLflow store holds of one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.request
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import pandas as pd

from prefine_ray.results.folder import ResultsDir
from prefine_ray.tracking.store import EXPERIMENT, apply_settings

apply_settings()
from mlflow import MlflowClient  # noqa: E402  (after the settings)
from mlflow.entities import Run  # noqa: E402

STEPS = 500
CURVE_STEPS = range(25, STEPS + 1, 25)


def identity(cell: str, *, method: str = "prefine", weight: float = 5.0, seed: int = 0) -> dict:
    preferred, threshold = ("", np.nan) if method == "base" else ("best", 20.0)
    weight = np.nan if method == "base" else weight
    columns = {"preferred": preferred, "threshold": threshold, "weight": weight, "seed": seed}
    return {"cell": cell, "method": method, "task": "BallRun", **columns}


def curve(ident: dict, steps: range = CURVE_STEPS) -> pd.DataFrame:
    return pd.DataFrame([{**ident, "step": s, "loss": 1.0 / s, "entropy": 2.0 - s / 1000} for s in steps])


def episodes(ident: dict, costs: list[float]) -> pd.DataFrame:
    stage = "base" if ident["method"] == "base" else "finetuned"
    rows = [
        {**ident, "stage": stage, "episode": i, "return": 500.0 + i, "cost": c, "length": 100, "terminated": False}
        for i, c in enumerate(costs)
    ]
    return pd.DataFrame(rows)


def trial(ident: dict, **changes: object) -> dict:
    row = {
        **ident,
        "status": "finished",
        "error": "",
        "steps": STEPS,
        "wall_s": 8.0,
        "loss": 1 / STEPS,
        "accuracy": 0.75,
    }
    return {**row, **changes}


def write_pack(results: ResultsDir, part: str, cells: list[str], weight: float = 5.0) -> None:
    """A pack of finished cells, as a sweep writes it."""
    idents = [identity(cell, weight=weight, seed=seed) for seed, cell in enumerate(cells)]
    for cell in cells:
        results.policy_path(cell).parent.mkdir(parents=True, exist_ok=True)
        results.policy_path(cell).write_bytes(cell.encode())
    frames = {
        "curves": pd.concat([curve(ident) for ident in idents]),
        "episodes": pd.concat([episodes(ident, [10.0, 30.0, 50.0, 15.0]) for ident in idents]),
        "trials": pd.DataFrame([trial(ident) for ident in idents]),
    }
    results.write_part(part, frames)


def write_failed(results: ResultsDir, part: str, cell: str) -> None:
    row = {**identity(cell), "status": "failed", "error": "Traceback\nValueError: NaN in the loss"}
    results.write_part(part, {"trials": pd.DataFrame([row])})


class Store:
    """What a store holds of one results folder."""

    def __init__(self, uri: str, results: ResultsDir):
        self.client = MlflowClient(uri)
        self._id = (results.root / "mlflow" / "sweep_id").read_text()

    def _search(self, query: str) -> list[Run]:
        experiment = self.client.get_experiment_by_name(EXPERIMENT)
        return list(self.client.search_runs([experiment.experiment_id], query))

    @property
    def parent(self) -> Run:
        (run,) = self._search(f"tags.`prefine.sweep_id` = '{self._id}'")
        return run

    @property
    def children(self) -> dict[str, Run]:
        runs = self._search(f"tags.`mlflow.parentRunId` = '{self.parent.info.run_id}'")
        by_cell = {run.data.tags["prefine.cell"]: run for run in runs}
        assert len(by_cell) == len(runs), "a cell has two runs"
        return by_cell

    def history(self, cell: str, metric: str) -> list[tuple[int, float]]:
        points = self.client.get_metric_history(self.children[cell].info.run_id, metric)
        return sorted((point.step, point.value) for point in points)

    def artifacts(self, run: Run, path: str | None = None) -> list[str]:
        return [item.path for item in self.client.list_artifacts(run.info.run_id, path)]

    def assert_complete(self, cells: list[str]) -> None:
        """Each cell once, whole: status, curve, parameters, policy."""
        children = self.children
        assert sorted(children) == sorted(cells)
        for cell, run in children.items():
            assert run.info.status == "FINISHED"
            assert [step for step, _ in self.history(cell, "loss")] == list(CURVE_STEPS)
            assert run.data.params["steps"] == "500"
            assert run.data.metrics["mean_cost"] == 26.25
            assert self.artifacts(run, "policy") == [f"policy/{cell}.safetensors"]


class Server(ABC):
    """An MLflow server, which can be killed and started again."""

    def __init__(self, folder: Path):
        self._folder, self._port = folder, free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen | None = None

    @abstractmethod
    def _command(self) -> list[str]:
        """What starts it."""

    def start(self, **environment: str) -> None:
        with open(self._folder / "server.log", "a") as log:
            self._process = subprocess.Popen(
                self._command(), stdout=log, stderr=log, env={**os.environ, **environment}, start_new_session=True
            )
        wait_until_up(self.url, self._process)

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_up(url: str, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended"
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
                assert answer.read() == b"OK"
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"{url} did not come up")
