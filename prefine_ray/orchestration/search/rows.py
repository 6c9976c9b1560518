"""The rows of a search's trials."""

from __future__ import annotations

from typing import Any

from prefine_ray.experiment.job import TrainingJob, trial_rows
from prefine_ray.experiment.search_trials import SearchTrial, searched_columns
from prefine_ray.orchestration.training import TrainedPack
from prefine_ray.results.folder import ResultsDir


def write_failure(results: ResultsDir, number: int, trial: SearchTrial, error: str) -> None:
    """Records a trial as failed, with the reason."""
    results.write_failure(
        trial.pack.name, [{**cell.identity, **_asked(number, trial)} for cell in trial.pack.cells], error
    )


def _asked(number: int, trial: SearchTrial) -> dict[str, Any]:
    """The columns that tell a trial in its rows."""
    return {"number": number, **searched_columns(trial.values)}


def write_trial(results: ResultsDir, number: int, trial: SearchTrial, job: TrainingJob, trained: TrainedPack) -> None:
    """Puts a trial on disk: one row per cell with the searched values, its curves, its episodes at every rung."""
    rows = trial_rows(job, trained.curves, trained.policies, trained.wall_s)
    rows = rows.assign(steps=trained.step, **_asked(number, trial))
    episodes = trained.watched.assign(
        stage=["finetuned" if step == trained.step else "rung" for step in trained.watched["step"]]
    )
    results.write_part(trial.pack.name, {"curves": trained.curves, "episodes": episodes, "trials": rows})
