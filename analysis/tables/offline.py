"""Tasks without an environment: what training says about them, and that nothing was evaluated."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from prefine_ray.analysis.tables.cells import NOTHING, Cell, Column, Row, Table, policy_name
from prefine_ray.core.tables import read_table
from prefine_ray.experiment.cells import TEST
from prefine_ray.results.folder import ResultsDir
from prefine_ray.results.own_tasks import add_stored_tasks
from prefine_ray.tasks.spec import get_task

METRICS = {  # columns of trials.parquet and what to call them
    "loss_reward": "SFT loss",
    "accuracy": "Accuracy",
    "margin_preferred": "Margin, pref.",
    "margin_dispreferred": "Margin, dispref.",
    "kl": "KL",
}
_KEYS = ["task", "threshold", "method", "preferred", "weight"]
NOT_EVALUATED = (
    "Nothing was evaluated: {tasks} {have} no environment (env: none). The numbers are off-line ones, of the last"
    " training batches, averaged over seeds: they tell how far the policy moved and whether it tells the sides apart,"
    " not what it returns or costs. Accuracy: the share of pairs that the policy's log-ratios order rightly; margins:"
    " of these log-ratios, between a trajectory and its counterfactual; KL: to the reference policy."
)


def offline_trials(folder: Path) -> pd.DataFrame:
    """The finished cells of a folder's tasks without an environment; empty where there are none."""
    results = ResultsDir(folder)
    add_stored_tasks(results)
    results.merge_new()
    path = results.merged_path("trials")
    trials = read_table(path) if path.exists() else pd.DataFrame()
    if trials.empty:
        return trials
    without = trials["task"].map(lambda task: not get_task(task).has_environment)
    return trials[(trials["status"] == "finished") & (trials["split"] == TEST) & without]


def offline_rows(trials: pd.DataFrame) -> pd.DataFrame:
    """The mean of each training metric over seeds: columns _KEYS, seeds, and those of METRICS that there are."""
    metrics = [name for name in METRICS if name in trials and trials[name].notna().any()]
    groups = trials.groupby(_KEYS, dropna=False)
    means = groups[metrics].mean()
    return means.assign(seeds=groups["seed"].nunique()).reset_index()


def offline_table(rows: pd.DataFrame) -> Table:
    """One row per policy; see `offline_rows`."""
    metrics = [name for name in METRICS if name in rows]
    columns = [Column(name, numeric=False) for name in ("Task", "Policy", "Preferred")]
    columns += [Column("Threshold"), *(Column(METRICS[name]) for name in metrics), Column("Seeds")]
    tasks = sorted(set(rows["task"]))
    caption = NOT_EVALUATED.format(tasks=", ".join(tasks), have="has" if len(tasks) == 1 else "have")
    body = tuple(_row(row, metrics) for _, row in rows.iterrows())
    return Table("Tasks without an environment", caption, tuple(columns), body)


def _row(row: pd.Series, metrics: list[str]) -> Row:
    words = [str(row["task"]), policy_name(row["method"], row["weight"]), str(row["preferred"]) or NOTHING]
    numbers = [NOTHING if pd.isna(row[name]) else f"{row[name]:.3g}" for name in ("threshold", *metrics)]
    return Row(tuple(Cell(text) for text in (*words, *numbers, str(row["seeds"]))))
