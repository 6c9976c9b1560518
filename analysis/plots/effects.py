"""A forest plot of what the best weight changes on every task."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from prefine_ray.analysis.columns import COST, REWARD, TASK, THRESHOLD, high, low
from prefine_ray.analysis.effects import ALPHA, TO_SFT, WEIGHT_0
from prefine_ray.analysis.plots.style import INK, plain_axes, show_under_pointer, with_interval
from prefine_ray.analysis.thresholds import task_order

_COLORS = {WEIGHT_0: "#440154", TO_SFT: "#d95f02"}
_FADED = 0.35  # opacity where there is nothing to lower


def forest(listed: pd.DataFrame) -> Figure:
    """Differences of cost and reward with their intervals, a line per task and reference.

    Args:
        listed: see `prefine_ray.analysis.effects.effects`, of one kind of preferences.
    """
    tasks = task_order(listed[TASK])
    figure = Figure(figsize=(10.0, 1.6 + 0.5 * len(tasks)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, score, name in zip(panels, (COST, REWARD), ("cost", "reward"), strict=True):
        for reference, rows in listed.groupby("reference", sort=False):
            offset = 0.0 if listed["reference"].nunique() == 1 else -0.17 if reference == WEIGHT_0 else 0.17
            for _, row in rows.iterrows():
                _draw(axes, row, score, tasks.index(row[TASK]) + offset)
        axes.axvline(0.0, color=INK, linewidth=0.9)
        axes.set_xlabel(f"difference of normalised {name}", fontsize=10)
        plain_axes(axes, "x")
    thresholds = listed.drop_duplicates(TASK).set_index(TASK)[THRESHOLD]
    panels[0].set_yticks(range(len(tasks)), [f"{task}, threshold {thresholds[task]:g}" for task in tasks])
    panels[0].set_ylim(len(tasks) - 0.4, -0.6)
    figure.legend(handles=_handles(listed), loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def _draw(axes: Axes, row: pd.Series, score: str, height: float) -> None:
    """One difference: filled where it is shown after Holm's correction, faded where there is nothing to lower."""
    spans = np.nan_to_num([[row[score] - row[low(score)]], [row[high(score)] - row[score]]]).clip(min=0.0)
    color = _COLORS[row["reference"]]
    drawn = axes.errorbar(
        row[score],
        height,
        xerr=spans,
        fmt="o",
        color=color,
        markerfacecolor=color if row[f"{score}_holm"] < ALPHA else "white",
        alpha=1.0 if row["to_lower"] else _FADED,
        markersize=6,
        elinewidth=1.3,
        capsize=2,
    )
    holm = f"p (Holm) {row[f'{score}_holm']:.3g}"
    told = f"{row[TASK]}, best weight less {row['reference']}: {with_interval(row, score)}, {holm}"
    show_under_pointer(drawn[0], told)


def _handles(listed: pd.DataFrame) -> list[Line2D]:
    present = [name for name in _COLORS if name in set(listed["reference"])]
    return [
        *(Line2D([], [], color=_COLORS[name], marker="o", label=f"best weight less {name}") for name in present),
        Line2D([], [], color=INK, marker="o", mfc="white", linestyle="", label=f"p (Holm) {ALPHA:g} or more"),
        Line2D([], [], color=INK, marker="o", alpha=_FADED, linestyle="", label="nothing to lower"),
    ]
