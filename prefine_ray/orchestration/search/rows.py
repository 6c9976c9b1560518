"""The rows of a search's trials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from prefine_ray.analysis.search.score import REFERENCE
from prefine_ray.data.hdf5 import read_summary
from prefine_ray.experiment.cells import Pack
from prefine_ray.experiment.job import TrainingJob, trial_rows
from prefine_ray.experiment.search_trials import SearchTrial, reference_reward, searched_columns
from prefine_ray.orchestration.training import TrainedPack
from prefine_ray.results.folder import ResultsDir


def grid_rows(trials: Mapping[int, SearchTrial]) -> list[dict[str, Any]]:
    """One row per cell of the trials, by number: which pack it belongs to, the searched values."""
    return [
        {**cell.identity, "pack": pack.name, **_asked(number, trial)}
        for number, trial in trials.items()
        for pack in trial.packs
        for cell in pack.cells
    ]


def _asked(number: int, trial: SearchTrial) -> dict[str, Any]:
    """The columns that tell a trial in its rows."""
    return {"number": number, **searched_columns(trial.values)}


def reference_rows(job: TrainingJob) -> pd.DataFrame:
    """One row per cell of a job with the reward that its own is measured by, from the episodes of its replicate."""
    summaries = {path: read_summary(path, job.pack.task) for path in job.inputs.data_paths}
    rows = []
    for cell in job.pack.cells:
        own = job.of(cell)
        summary = summaries[own.data_path]
        drawn = summary if own.episodes is None else summary.select(np.asarray(own.episodes, dtype=np.int64))
        rows.append({**cell.identity, REFERENCE: reference_reward(drawn, cell.task, cell.axes["threshold"])})
    return pd.DataFrame(rows)


def write_failure(results: ResultsDir, number: int, trial: SearchTrial, pack: Pack, error: str) -> None:
    """Records a trial's pack as failed, with the reason."""
    results.write_failure(pack.name, [{**cell.identity, **_asked(number, trial)} for cell in pack.cells], error)


def write_pack(
    results: ResultsDir,
    number: int,
    trial: SearchTrial,
    job: TrainingJob,
    trained: TrainedPack,
    references: pd.DataFrame,
) -> None:
    """Puts a trial's pack on disk: a row per cell with the searched values, its curves, its episodes at every rung."""
    rows = trial_rows(job, trained.curves, trained.policies, trained.wall_s)
    rows = rows.assign(steps=trained.step, **_asked(number, trial), **{REFERENCE: references[REFERENCE].to_numpy()})
    episodes = trained.watched.assign(
        stage=["finetuned" if step == trained.step else "rung" for step in trained.watched["step"]]
    )
    results.write_part(job.pack.name, {"curves": trained.curves, "episodes": episodes, "trials": rows})
