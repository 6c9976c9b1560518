"""One Tune trial of a sweep: a pack is fine-tuned, evaluated, and on disk before Tune is told."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd
from ray import tune

from prefine_ray.experiment.cells import Pack
from prefine_ray.experiment.job import TrainingJob, policy_header, trial_rows
from prefine_ray.orchestration.condition_evaluation import FINETUNED, evaluate_pack
from prefine_ray.orchestration.context import SweepContext
from prefine_ray.orchestration.evaluation import evaluate_cells
from prefine_ray.orchestration.failures import lasting_text
from prefine_ray.orchestration.training import TrainedPack, train_pack
from prefine_ray.orchestration.trials import remove_fit
from prefine_ray.policies.files import save_policy


def run_pack(config: dict[str, Any], context: SweepContext) -> None:
    """One Tune trial: fine-tune a pack, evaluate it, write its rows and policies, then report.

    An error that would come again is recorded in the rows of its cells; the trial itself then ends well. Only what
    another try may fix is raised.
    """
    pack: Pack = config["pack"]
    context = replace(context, inputs={pack.task: config["inputs"]})
    context.add_tasks()
    try:
        failed = _train_and_evaluate(pack, context)
    except Exception as error:
        text = lasting_text(error)
        context.results.write_failure(pack.name, [cell.identity for cell in pack.cells], text)
        failed = len(pack.cells)
    _evaluate_conditions(pack, context)
    tune.report({"cells": len(pack.cells), "failed": failed})
    remove_fit(context, pack.name)


def _evaluate_conditions(pack: Pack, context: SweepContext) -> None:
    """Evaluates what the pack alone can tell; after an error that would come again, the end of the sweep tries it."""
    try:
        evaluate_pack(context, pack.name, pack.cells)
    except Exception as error:
        context.results.append_log(pack.name, lasting_text(error))


def _train_and_evaluate(pack: Pack, context: SweepContext) -> int:
    """The number of cells that failed."""
    job = TrainingJob(pack, context.inputs[pack.task])
    log = partial(context.results.append_log, pack.name)
    trained = train_pack(job, context.plan, context.train_storage, log=log)
    trials = trial_rows(job, trained.curves, trained.policies, trained.wall_s).assign(**trained.machine)
    failed = trials["status"] == "failed"
    if failed.any():
        context.results.append_log(pack.name, _diverged_text(trials[failed], trained.curves))
        trials["log"] = [
            str(context.results.log_path(pack.name).relative_to(context.results.root)) if f else "" for f in failed
        ]
    _finish_pack(context, job, trained, trials)
    return int(failed.sum())


def _diverged_text(failed: pd.DataFrame, curves: pd.DataFrame) -> str:
    """Why cells failed, and their learning curves."""
    rows = failed[["cell", "method", "weight", "seed", "error"]].to_string(index=False)
    return f"{rows}\n\n{curves[curves['cell'].isin(failed['cell'])].to_string(index=False)}"


def _finish_pack(context: SweepContext, job: TrainingJob, trained: TrainedPack, trials: pd.DataFrame) -> None:
    good = [index for index, status in enumerate(trials["status"]) if status == "finished"]
    cells = [job.pack.cells[index] for index in good]
    policies = [trained.policies.select(index) for index in good]
    for cell, policy in zip(cells, policies, strict=True):
        policy.header = policy_header(job, cell)
        save_policy(policy, context.results.policy_path(cell.name), policy.header)
    episodes = evaluate_cells(context, cells, policies, FINETUNED)
    rows = {"curves": trained.curves, "episodes": episodes, "trials": trials}
    context.results.write_part(job.pack.name, rows, policies=[cell.name for cell in cells])
