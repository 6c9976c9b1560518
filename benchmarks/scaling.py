"""What a sweep costs beside its work, up to many cells: real Tune trials whose work is a sleep.

    python -m benchmarks.scaling [--cells 100 1000 10000] [--cells-per-trial 1] [--sleep 0] [--mlflow-cells 100 1000]

A trial sleeps, then writes the rows that a real one writes (learning curves, evaluation episodes, one row per cell).
CPU seconds are of the driver alone and do not count what else the machine does; wall-clock does.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ray import tune

from prefine_ray.core.digests import digest
from prefine_ray.experiment.cells import Cell, Pack, make_cells
from prefine_ray.experiment.config import make_config
from prefine_ray.experiment.replicates import shared_inputs
from prefine_ray.orchestration import cluster
from prefine_ray.orchestration.context import SweepContext
from prefine_ray.orchestration.sweep.progress import SweepProgress
from prefine_ray.orchestration.sweep.run import tune_packs
from prefine_ray.results.folder import ResultsDir
from prefine_ray.results.heartbeat import Heartbeat
from prefine_ray.tracking.tracker import SyncReport, Tracker

EPISODES, POINTS = 20, 21  # per cell: evaluation episodes, points of the learning curve
CURVES = ("loss", "loss_safety", "loss_reward", "margin_preferred", "margin_dispreferred", "accuracy", "kl", "entropy")


@dataclass
class Timings:
    """Wall-clock and driver's CPU seconds by stage."""

    wall: dict[str, float] = field(default_factory=dict)
    cpu: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times what runs inside."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.wall[name] = time.perf_counter() - wall
        self.cpu[name] = time.process_time() - cpu


class NoTracker(Tracker):
    """For a sweep without MLflow, which is measured by itself."""

    def sync(self) -> SyncReport:
        """Sends nothing."""
        return SyncReport(0, 0)


def make_packs(count: int, per_trial: int) -> list[Pack]:
    """Packs of the cells of a grid of one task and one weight over many seeds."""
    config = make_config(name="scaling", tasks=("BallRun",), weights=(0,), seeds=tuple(range(count)))
    cells = make_cells(config, {"BallRun": shared_inputs("data", "d", "base", "b")})
    groups = [tuple(cells[first : first + per_trial]) for first in range(0, len(cells), per_trial)]
    return [Pack(digest([cell.name for cell in group]), group) for group in groups]


def rows_of(pack: Pack) -> dict[str, pd.DataFrame]:
    """As many rows and columns as a real pack has."""
    rng = np.random.default_rng(0)
    episodes = [
        {
            **cell.identity,
            "stage": "finetuned",
            "episode": e,
            "return": 500.0 + e,
            "cost": 10.0 + e,
            "length": 100,
            "terminated": False,
        }
        for cell in pack.cells
        for e in range(EPISODES)
    ]
    curves = [
        {**cell.identity, "step": 25 * point, **dict(zip(CURVES, rng.random(len(CURVES)).tolist(), strict=True))}
        for cell in pack.cells
        for point in range(POINTS)
    ]
    last = dict(zip(CURVES, rng.random(len(CURVES)).tolist(), strict=True))
    trials = [
        {**cell.identity, "status": "finished", "error": "", "steps": 500, "wall_s": 1.0, **last} for cell in pack.cells
    ]
    return {name: pd.DataFrame(rows) for name, rows in (("episodes", episodes), ("curves", curves), ("trials", trials))}


def sleep_pack(config: dict[str, Any], context: SweepContext, sleep_s: float) -> None:
    """In the place of `sweep.run_pack`."""
    time.sleep(sleep_s)
    pack: Pack = config["pack"]
    context.results.write_part(pack.name, rows_of(pack))
    tune.report({"cells": len(pack.cells), "failed": 0})


def measure_sweep(packs: Sequence[Pack], root: Path, sleep_s: float, tracker: Callable[..., Tracker]) -> Timings:
    """Runs the packs as a sweep does, then again with everything finished, then merges."""
    timings, results = Timings(), ResultsDir(root)
    config = make_config(name="scaling", tasks=("BallRun",))
    plan = cluster.plan_resources(config.resources, counterfactual_actors=False)
    context = SweepContext({}, results, plan, [], str(root / "train"))
    cells: list[Cell] = [cell for pack in packs for cell in pack.cells]
    names = [cell.name for cell in cells]

    def run(trial_config: dict[str, Any], context: SweepContext) -> None:
        sleep_pack(trial_config, context, sleep_s)

    with (
        Heartbeat(root) as heartbeat,
        timings.stage("trials"),
        SweepProgress(len(cells), results, tracker(results, "scaling"), heartbeat) as progress,
    ):
        progress.add(cells, set())
        given = [list(packs)]
        tune_packs(context, lambda: given.pop() if given else [], progress, run)
    with timings.stage("finished cells"):
        assert results.finished_cells() == set(names)
    with timings.stage("merge"):
        results.merge(names)
    return timings


def measure_rows(packs: Sequence[Pack], root: Path) -> tuple[int, float]:
    """Rows written into a results folder, and the wall-clock seconds it took one process."""
    results, rows = ResultsDir(root), [rows_of(pack) for pack in packs]
    started = time.perf_counter()
    for pack, frames in zip(packs, rows, strict=True):
        results.write_part(pack.name, frames)
    return sum(len(frame) for frames in rows for frame in frames.values()), time.perf_counter() - started


def measure_mlflow(packs: Sequence[Pack], root: Path) -> tuple[Timings, float]:
    """Sends a folder's cells to a sqlite store: all but the last trial, then the last one; metrics per cell."""
    timings, results = Timings(), ResultsDir(root)
    for pack in packs[:-1]:
        results.write_part(pack.name, rows_of(pack))
    tracker = Tracker(results, "scaling", uri=f"sqlite:///{root / 'mlflow.db'}")
    with timings.stage("all"):
        tracker.start("")
    results.write_part(packs[-1].name, rows_of(packs[-1]))
    with timings.stage("one more"):
        report = tracker.sync()
    assert report.logged == len(packs[-1].cells), report
    with timings.stage("nothing new"):
        tracker.sync()
    return timings, len(CURVES) * (POINTS + 1) + 8.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="*", default=[100, 1000, 10_000])
    parser.add_argument("--cells-per-trial", type=int, default=1, help="as `Pack`s carry them")
    parser.add_argument("--sleep", type=float, default=0.0, metavar="S", help="a trial's work")
    parser.add_argument("--mlflow", action="store_true", help="with MLflow (sqlite) in the sweep")
    parser.add_argument("--mlflow-cells", type=int, nargs="*", default=[100, 1000])
    parser.add_argument("--rows-cells", type=int, nargs="*", default=[1000])
    options = parser.parse_args()
    per = options.cells_per_trial
    if options.cells:
        cluster.connect()
        print(
            "| cells | trials | wall, s | driver CPU per cell, ms | finished cells, CPU s | merge, CPU s |", flush=True
        )
        print("|" + "---|" * 6)
    for count in options.cells:
        with _folder() as root:
            tracker = Tracker if options.mlflow else NoTracker
            timings = measure_sweep(make_packs(count, per), root, options.sleep, tracker)
        cpu, wall = timings.cpu, timings.wall["trials"]
        row = (count, -(-count // per), f"{wall:.0f}", f"{1000 * cpu['trials'] / count:.1f}")
        print(f"| {' | '.join(map(str, row))} | {cpu['finished cells']:.1f} | {cpu['merge']:.1f} |", flush=True)
    for count in options.rows_cells:
        with _folder() as root:
            rows, seconds = measure_rows(make_packs(count, per), root)
        print(
            f"{count} cells: {rows} rows written, {rows / seconds:.0f} rows/s, {count / seconds:.1f} cells/s",
            flush=True,
        )
    for count in options.mlflow_cells:
        with _folder() as root:
            timings, metrics = measure_mlflow(make_packs(count, per), root)
        each = timings.cpu["all"] / max(1, count - per)
        cpu = {name: 1000 * seconds for name, seconds in timings.cpu.items()}
        print(
            f"MLflow, {count} cells: {1000 * each:.0f} ms CPU per cell, {metrics / each:.0f} metrics per CPU s",
            end="; ",
        )
        print(f"one more trial {cpu['one more']:.0f} ms, nothing new {cpu['nothing new']:.0f} ms", flush=True)


@contextmanager
def _folder() -> Iterator[Path]:
    root = Path(tempfile.mkdtemp(prefix="scaling-"))
    yield root
    shutil.rmtree(root)


if __name__ == "__main__":
    main()
