"""Violations and catastrophes avoided, as bars."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prefine_ray.analysis.columns import BASE, PREFINE
from prefine_ray.analysis.plots.style import (
    INK,
    front_rows,
    plain_axes,
)
from prefine_ray.analysis.summary import Summary
from prefine_ray.analysis.thresholds import headline_threshold, task_order


def reductions(summary: Summary, variant: str, colors: dict[float, Any]) -> Figure:
    """Bars per task: the share of the base policy's violations and catastrophes that weight 0 and the best one save."""
    tasks = task_order(summary.cells["task"])
    limits = [headline_threshold(summary.cells, task) for task in tasks]
    figure = Figure(figsize=(11.0, 1.2 + 0.55 * len(tasks)))
    height = figure.get_figheight()
    panels = figure.subplots(1, 2, sharey=True, gridspec_kw={"left": 0.205, "right": 0.985, "wspace": 0.05})
    figure.subplots_adjust(top=1 - 0.4 / height, bottom=0.65 / height)
    for axes, kind in zip(panels, ("violation", "catastrophe"), strict=True):
        for position, (task, threshold) in enumerate(zip(tasks, limits, strict=True)):
            _draw_bars(axes, position, front_rows(summary, variant, task, threshold), kind, colors)
        axes.set_title(f"Fewer {kind}s than the base policy", fontsize=11)
        axes.set_xlabel("reduction, % (below 0: more than the base policy)", fontsize=10)
        axes.set(xlim=(-60, 185), xticks=[-50, 0, 50, 100])
        axes.axvline(60, color=INK, linestyle=":", linewidth=1)
        axes.axvline(0, color=INK, linewidth=0.8)
        plain_axes(axes, "x")
    panels[0].set_yticks(range(len(tasks)), [f"{t}, threshold {c:g}" for t, c in zip(tasks, limits, strict=True)])
    panels[0].set_ylim(len(tasks) - 0.4, -0.6)
    return figure


def _draw_bars(axes: Axes, position: int, rows: pd.DataFrame, kind: str, colors: dict[float, Any]) -> None:
    """A task's bars, weight 0 over the best weight, each with the rates behind it in words."""
    ours, base = rows[rows["method"] == PREFINE], rows[rows["method"] == BASE]
    if base.empty:
        axes.text(4, position, "no base policy evaluated", va="center", fontsize=8, color="#666666")
        return
    before = float(base[f"{kind}_rate"].iloc[0])
    if before == 0:
        axes.text(4, position, f"the base policy has no {kind}s", va="center", fontsize=8, color="#666666")
        return
    for offset, picked in ((-0.2, ours[ours["weight"] == 0.0]), (0.2, ours[ours["chosen"]])):
        for _, row in picked.iterrows():
            share = 100 * row[f"{kind}_reduction_vs_base"]
            axes.barh(position + offset, max(share, -55), height=0.36, color=colors[row["weight"]], zorder=3)
            words = f"weight {row['weight']:g}: {100 * before:.0f}% to {100 * row[f'{kind}_rate']:.0f}%"
            text = axes.text(max(share, 0) + 3, position + offset, words, va="center", fontsize=8, color=INK)
            text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.8})
