"""Plots of a hyperparameter search: reward against cost, what each searched value does, the best setting by task."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from prefine_ray.analysis.best import SAFE
from prefine_ray.analysis.columns import COST, REWARD, SAFETY, TASK
from prefine_ray.analysis.plots.style import INK, SAFE_SHADE, plain_axes, set_cost_axis
from prefine_ray.analysis.search.score import LEAST, VALUE
from prefine_ray.experiment.search_config import SearchConfig
from prefine_ray.experiment.search_space import Range

_TRIAL, _BEST, _OTHER = "#3b6ea8", "#c05020", "#999999"


def front_plot(good: pd.DataFrame, title: str, early_stopping: bool) -> Figure:
    """Normalised reward over normalised cost of all trials of one problem, with threshold, front and best trial."""
    figure = Figure(figsize=(7.0, 4.8), layout="constrained")
    axes = figure.subplots()
    whole = good["steps"] >= good["steps"].max() if early_stopping else pd.Series(True, index=good.index)
    for rows, face, edge in ((good[whole], _TRIAL, "white"), (good[~whole], "none", _TRIAL)):
        axes.scatter(rows[COST], rows[REWARD], c=face, edgecolors=edge, s=45, zorder=3)
    front = good[good["front"]].sort_values(COST)
    axes.plot(front[COST], front[REWARD], color=_BEST, drawstyle="steps-post", zorder=2, lw=1.5)
    best = good[good["chosen"]]
    axes.plot(best[COST], best[REWARD], "o", ms=13, mfc="none", mec=INK, zorder=5)
    for _, row in good[good["front"] | good["chosen"]].iterrows():
        point = (row[COST], row[REWARD])
        axes.annotate(str(int(row["number"])), point, (6, 5), textcoords="offset points", fontsize=8)
    set_cost_axis(axes, good)
    axes.set_xlabel("normalised cost (episode cost / threshold)")
    axes.set_ylabel("normalised reward")
    axes.set_title(f"{title}: {len(good)} trials, numbered on the front")
    plain_axes(axes, "both")
    axes.legend(handles=_front_handles(bool((~whole).any())), fontsize=8, frameon=False, loc="best")
    return figure


def _front_handles(stopped: bool) -> list[Any]:
    dot: dict[str, Any] = {"marker": "o", "linestyle": "", "markersize": 7}
    return [
        Line2D([], [], color=_TRIAL, label="trial", **dot),
        *([Line2D([], [], color=_TRIAL, mfc="none", label="stopped early", **dot)] if stopped else []),
        Line2D([], [], color=_BEST, label="Pareto front"),
        Line2D([], [], color=INK, mfc="none", label="best", **{**dot, "markersize": 11}),
        Line2D([], [], color=INK, linestyle="--", label="threshold"),
        Patch(color=SAFE_SHADE, label="mean below 1"),
    ]


def task_plot(problems: pd.DataFrame, trials: pd.DataFrame, config: SearchConfig) -> Figure:
    """The value of each task under every trial that ran on it, with the best one marked; problems within are averaged.

    Args:
        problems: of all trials, see `prefine_ray.analysis.search.table.read_search`.
        trials: see `prefine_ray.analysis.search.table.read_search`.
        config: of the search.
    """
    values = problems.groupby(["number", TASK])[VALUE].mean().unstack(TASK).reindex(columns=list(config.tasks))
    chosen = trials.loc[trials["chosen"], "number"]
    figure = Figure(figsize=(7.0, 1.2 + 0.36 * len(config.tasks)), layout="constrained")
    axes = figure.subplots()
    rows = np.arange(len(config.tasks))
    for number, of_tasks in values.iterrows():
        is_best = number in set(chosen)
        style: dict[str, Any] = {"c": _BEST, "s": 70, "zorder": 4} if is_best else {"c": _OTHER, "s": 22, "zorder": 3}
        axes.scatter(of_tasks, rows, edgecolors="white", linewidths=0.5, **style)
    axes.axvline(0.0, color=INK, linestyle="--", linewidth=1.0)
    axes.axvspan(LEAST, 0.0, color="#f3e3dc", zorder=0, lw=0)
    axes.set_xlim(LEAST, max(1.05, float(np.nanmax(values.to_numpy())) + 0.05))
    axes.set_yticks(rows, list(config.tasks))
    axes.invert_yaxis()
    axes.set_xlabel("value: share of the best safe reward in the data; below 0: not shown to be safe")
    axes.set_title(f"{config.name}: {len(values)} settings, the best one in red")
    plain_axes(axes, "x")
    return figure


def slice_plot(good: pd.DataFrame, config: SearchConfig, metrics: dict[str, str]) -> Figure:
    """Scores of every trial over each searched value.

    Args:
        good: trials with scores.
        config: of the search.
        metrics: the scores and their shown names, one row of plots each.
    """
    keys = list(config.search.space)
    figure = Figure(figsize=(1.0 + 2.3 * len(keys), 0.4 + 2.2 * len(metrics)), layout="constrained")
    grid = figure.subplots(len(metrics), len(keys), sharex="col", sharey="row", squeeze=False)
    for column, key in enumerate(keys):
        for line, metric in enumerate(metrics):
            _draw_slice(grid[line, column], good, key, metric, config.search.space[key])
        grid[-1, column].set_xlabel(key)
    for line, name in enumerate(metrics.values()):
        grid[line, 0].set_ylabel(name)
    return figure


def _draw_slice(axes: Axes, good: pd.DataFrame, key: str, metric: str, dimension: Any) -> None:
    values = good[key] if isinstance(dimension, Range) else good[key].astype(str)
    is_safe = good[SAFETY] == SAFE
    for rows, color in ((~is_safe, _OTHER), (is_safe, _TRIAL), (good["chosen"], _BEST)):
        axes.scatter(values[rows], good.loc[rows, metric], c=color, s=28, edgecolors="white", linewidths=0.5, zorder=3)
    if isinstance(dimension, Range) and dimension.log:
        axes.set_xscale("log")
    if metric == COST:
        axes.axhline(1.0, color=INK, linestyle="--", linewidth=1.0)
    plain_axes(axes, "both")
