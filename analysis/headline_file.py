"""The headline as numbers, and the policies that it is about, for whatever shows them elsewhere (MLflow)."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd

from prefine_ray.analysis.best import SAFE, UNCERTAIN, UNSAFE
from prefine_ray.analysis.columns import (
    COST,
    METHOD,
    PREFERRED,
    PREFINE,
    REPLICATE,
    REWARD,
    SAFETY,
    SETTING,
    TASK,
    THRESHOLD,
    WEIGHT,
)
from prefine_ray.analysis.summary import Summary
from prefine_ray.analysis.tables.headline import headline_rows
from prefine_ray.analysis.thresholds import task_order
from prefine_ray.experiment.cells import TEST

_MEANS = (REWARD, COST, "violation_rate", "catastrophe_rate", "violation_reduction_vs_base", "reward_kept_vs_base")


def headline_text(summary: Summary, episodes: pd.DataFrame) -> str:
    """The content of tables/headline.json: what `headline_values` and `picked_policies` give."""
    content = {"values": headline_values(summary), "policies": picked_policies(summary, episodes)}
    return json.dumps(content, indent=1) + "\n"


def headline_values(summary: Summary) -> dict[str, float]:
    """Tasks by their safety at the middle threshold, and means over tasks, of the policies of the picked weights.

    Where there are several kinds of preferred trajectories the names begin with the kind, as "best-100/safe_tasks".
    """
    values: dict[str, float] = {}
    for variant in summary.variants:
        rows = [headline_rows(summary, variant, task)["best"] for task in task_order(summary.cells[TASK])]
        picked = pd.DataFrame([row for row in rows if row is not None])
        if picked.empty:
            continue
        prefix = "" if len(summary.variants) == 1 else f"{variant}/"
        counts = {f"{word}_tasks": float((picked[SAFETY] == word).sum()) for word in (SAFE, UNCERTAIN, UNSAFE)}
        means = {name: float(picked[name].astype(float).mean()) for name in _MEANS}
        found = {"tasks": float(len(picked)), **counts, **means}
        values |= {prefix + name: value for name, value in found.items() if np.isfinite(value)}
    return values


def picked_policies(summary: Summary, episodes: pd.DataFrame) -> list[dict[str, Any]]:
    """For each task, kind and threshold the picked weight and the cell of its first reported replicate.

    Not the best of the replicates: that would be a choice on the episodes that are reported.

    Args:
        summary: with the choices.
        episodes: see `prefine_ray.analysis.rows.episode_table`.
    """
    reported = episodes[(episodes[METHOD] == PREFINE) & (episodes["split"] == TEST)]
    first = reported.sort_values(REPLICATE, kind="stable").drop_duplicates([*SETTING, WEIGHT])
    picked = summary.choices[[*SETTING, WEIGHT]].merge(first[[*SETTING, WEIGHT, "cell"]], on=[*SETTING, WEIGHT])
    marked = picked.merge(summary.cells[[*SETTING, METHOD, WEIGHT, SAFETY]], on=[*SETTING, WEIGHT])
    columns = [TASK, PREFERRED, THRESHOLD, WEIGHT, "cell", SAFETY]
    rows = marked.loc[marked[METHOD] == PREFINE, columns].to_dict("records")
    return [{str(key): value for key, value in row.items()} for row in rows]
