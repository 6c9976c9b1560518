"""What the driver of a sweep shows and records while Tune runs: a progress line, failures, MLflow."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import pandas as pd
from ray.tune import Callback
from tqdm import tqdm

from prefine_ray.cells import Cell, Pack
from prefine_ray.results import ResultsDir
from prefine_ray.tracking import Tracker

_REFRESH_S = 2.0 if sys.stderr.isatty() else 30.0


class SweepProgress(Callback):
    """A Tune callback; results are already on disk when it is told of them."""

    def __init__(self, results: ResultsDir, cells: Sequence[Cell], tracker: Tracker):
        self._results, self._tracker = results, tracker
        done = results.finished_cells() & {cell.name for cell in cells}
        self._bar = tqdm(
            desc="sweep", total=len(cells), initial=len(done), unit="cell", mininterval=0, dynamic_ncols=True
        )
        self._refreshed = time.monotonic()

    def __enter__(self) -> SweepProgress:
        self._tracker.sync()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        self._tracker.sync()

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Keeps the time of the progress line going."""
        if time.monotonic() - self._refreshed > _REFRESH_S:
            running = sum(trial.status == "RUNNING" for trial in trials)
            self._bar.set_postfix_str(f"{running} packs running")
            self._refreshed = time.monotonic()

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A pack is on disk: count its cells and send them to MLflow."""
        pack: Pack = trial.config["pack"]
        self._bar.update(len(pack.cells))
        self._bar.write(f"done: {pack.label}, {len(pack.cells)} cells", file=sys.stderr)
        self._tracker.sync()

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A pack failed for good: record its cells as failed, with the reason."""
        pack: Pack = trial.config["pack"]
        reason = str(trial.get_error() or trial.get_pickled_error() or "unknown error")
        rows = [{**cell.identity, "status": "failed", "error": reason} for cell in pack.cells]
        self._results.write_part(pack.name, {"trials": pd.DataFrame(rows)})
        self._bar.write(f"FAILED: {pack.label}: {reason.strip().splitlines()[-1]}", file=sys.stderr)
        self._bar.update(len(pack.cells))
        self._tracker.sync()
