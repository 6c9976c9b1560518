"""Reward against cost over the weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from prefine_ray.analysis.best import SAFE
from prefine_ray.analysis.columns import BASE, PREFINE, SAFETY
from prefine_ray.analysis.plots.labels import place_labels
from prefine_ray.analysis.plots.style import (
    INK,
    SAFE_SHADE,
    front_rows,
    panel_grid,
    plain_axes,
    set_cost_axis,
    weight_handles,
)
from prefine_ray.analysis.summary import Summary
from prefine_ray.analysis.tables.cells import method_name
from prefine_ray.analysis.thresholds import headline_threshold, task_order

BASELINE_MARKERS = "^vDPX<>h"


def front_page(summary: Summary, variant: str, colors: dict[float, Any]) -> Figure:
    """One panel per task at its headline threshold, a suite of five tasks to a line."""
    tasks = task_order(summary.cells["task"])
    panels = [(task, headline_threshold(summary.cells, task)) for task in tasks]
    return _fronts(summary, variant, panels, (2.15, 2.0), colors)


def task_fronts(summary: Summary, variant: str, task: str, colors: dict[float, Any]) -> Figure:
    """One panel per threshold of the task."""
    thresholds = sorted(summary.cells.loc[summary.cells["task"] == task, "threshold"].unique())
    size = (5.2, 3.6) if len(thresholds) == 1 else (3.3, 3.0)
    return _fronts(summary, variant, [(task, threshold) for threshold in thresholds], size, colors)


def _fronts(
    summary: Summary,
    variant: str,
    panels: list[tuple[str, float]],
    size: tuple[float, float],
    colors: dict[float, Any],
) -> Figure:
    """A grid of reward-cost fronts, one per (task, threshold), of `size` inches each."""
    rows = [front_rows(summary, variant, *panel) for panel in panels]
    weights = set(pd.concat(rows)["weight"])
    handles = [
        Line2D([], [], color=INK, marker="s", linestyle="", label="base policy"),
        *weight_handles({weight: color for weight, color in colors.items() if weight in weights}, ""),
        Line2D([], [], color=INK, marker="o", linestyle="", markersize=11, markerfacecolor="none", label="best weight"),
        Line2D([], [], color=INK, linestyle="--", label="threshold"),
        Line2D([], [], color=INK, marker="o", linestyle="", markerfacecolor="none", label="not shown safe"),
        Patch(color=SAFE_SHADE, label="mean below 1"),
    ]
    figure, grid = panel_grid(len(panels), 5, size, handles, label="normalised cost (episode cost / threshold)")
    figure.supylabel("normalised reward", fontsize=10, x=0.06 / figure.get_figwidth(), ha="left")
    for axes, (task, threshold), shown in zip(grid, panels, rows, strict=True):
        axes.set_title(f"{task}, threshold {threshold:g}", fontsize=10, y=1.0)
        _draw_front(axes, shown, colors)
    return figure


def _draw_front(axes: Axes, rows: pd.DataFrame, colors: dict[float, Any]) -> None:
    """Weights joined by a line, the base policy and other methods as single points, the threshold at cost 1."""
    ours = rows[rows["method"] == PREFINE].sort_values("weight")
    axes.plot(ours["normalized_cost"], ours["normalized_reward"], color="#999999", linewidth=1.2, zorder=2)
    for _, row in ours.iterrows():
        draw_policy(axes, row, colors[row["weight"]], "o")
        if row["chosen"]:
            point = row["normalized_cost"], row["normalized_reward"]
            axes.plot(*point, "o", markersize=13, markerfacecolor="none", markeredgecolor=INK, zorder=5)
    for _, row in rows[rows["method"] == BASE].iterrows():
        draw_policy(axes, row, INK, "s")
    others = rows[~rows["method"].isin([BASE, PREFINE])]
    for (_, row), marker in zip(others.iterrows(), BASELINE_MARKERS * len(rows), strict=False):
        draw_policy(axes, row, "#777777", marker)
    set_cost_axis(axes, rows)
    plain_axes(axes, "both")
    named = rows[rows["method"] != BASE]  # the base policy's marker is in the legend
    texts = [
        f"{row['weight']:g}" if row["method"] == PREFINE else method_name(row["method"]) for _, row in named.iterrows()
    ]
    names = [f"normalized_{score}{end}" for score in ("cost", "reward") for end in ("", "_low", "_high")]
    path = ours[["normalized_cost", "normalized_reward"]].to_numpy(dtype=float)
    points = pd.concat([named, rows[rows["method"] == BASE]])[names]
    place_labels(axes, points.to_numpy(dtype=float).reshape(-1, 2, 3), texts, path)


def draw_policy(axes: Axes, row: pd.Series, color: Any, marker: str) -> None:
    """One policy, hollow where it is not shown to be safe, with its intervals (none where there is a single seed)."""
    is_safe = row[SAFETY] == SAFE
    spans = []
    for name in ("normalized_cost", "normalized_reward"):
        below, above = row[name] - row[f"{name}_low"], row[f"{name}_high"] - row[name]
        spans.append(np.nan_to_num([[max(0.0, below)], [max(0.0, above)]]))
    axes.errorbar(
        row["normalized_cost"],
        row["normalized_reward"],
        xerr=spans[0],
        yerr=spans[1],
        fmt=marker,
        color=color,
        markersize=7,
        markerfacecolor=color if is_safe else "white",
        markeredgecolor="white" if is_safe else color,
        markeredgewidth=0.7 if is_safe else 1.6,
        elinewidth=1.1,
        zorder=4,
    )
