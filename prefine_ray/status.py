"""How far a sweep is, read from its results folder alone."""

from __future__ import annotations

import time
from pathlib import Path

import pandas as pd

from prefine_ray.cells import grid_points
from prefine_ray.config import load_config
from prefine_ray.results import ResultsDir


def status_text(root: Path) -> str:
    """Cells done and failed per task, the best so far, the latest errors.

    Raises:
        ConfigError: the folder holds no sweep.
    """
    results = ResultsDir(root)
    config = load_config(results.config_path)
    trials = results.read("trials")
    lines = [f"{config.name} in {root}", f"{'task':<20} {'finished':>9} {'failed':>7} {'of':>5}"]
    for task in config.tasks:
        total = sum(1 for _ in grid_points(config, task))
        rows = trials[(trials["task"] == task) & (trials["method"] != "base")] if len(trials) else trials
        failed = int((rows["status"] == "failed").sum()) if len(rows) else 0
        lines.append(f"{task:<20} {len(rows) - failed:>9} {failed:>7} {total:>5}")
    lines += _errors(trials)
    newest = max((path.stat().st_mtime for path in (root / "parts").rglob("*.parquet")), default=None)
    if newest is not None:
        lines.append(f"last result {time.time() - newest:.0f} s ago")
    return "\n".join(lines)


def _errors(trials: pd.DataFrame) -> list[str]:
    if trials.empty:
        return []
    failed = trials[trials["status"] == "failed"].drop_duplicates(["task", "error"]).tail(3)
    reasons = zip(failed["task"], failed["weight"], failed["error"], strict=True)
    return [f"error in {task} w={weight:g}: {str(error).strip().splitlines()[-1]}" for task, weight, error in reasons]
