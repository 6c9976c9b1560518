"""Plots of a summary, as PNG files: reward-cost fronts, reductions against the base policy, learning curves.

A weight has the same colour in every plot: viridis (told apart with any colour vision) by its rank among the
weights of the whole summary. The base policy is black, other methods grey.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from prefine_ray.analysis.columns import PREFERRED
from prefine_ray.analysis.effects import ALPHA
from prefine_ray.analysis.plots.curves import curve_rows, learning_curves
from prefine_ray.analysis.plots.effects import forest
from prefine_ray.analysis.plots.efficiency import efficiency, efficiency_series
from prefine_ray.analysis.plots.fronts import front_page, task_fronts
from prefine_ray.analysis.plots.reductions import reductions
from prefine_ray.analysis.plots.style import (
    Plot,
    save_figure,
    weight_colors,
)
from prefine_ray.analysis.summary import Summary
from prefine_ray.analysis.thresholds import headline_threshold, task_order
from prefine_ray.analysis.wording import kind_text, preferences


def save_plots(summary: Summary, curves: pd.DataFrame, folder: Path) -> list[Plot]:
    """Saves every plot that there are rows for into `folder`, the overview first.

    Args:
        curves: training metrics: task, method, preferred, threshold, weight, step and some of CURVES; may be empty.
    """
    plots: list[Plot] = []
    for word, noise in efficiency_series(summary.kinds):
        name = f"efficiency_{word}" + (f"_noise{noise:g}" if noise else "") + ".png"
        told = f"Averages over all tasks against the number of preferred trajectories: {preferences(word, 0, noise)}."
        plots.append(save_figure(efficiency(summary, word, noise), folder / name, f"{told} Bars: 95 % intervals."))
    for variant in summary.variants:
        suffix = f"_{variant}" if len(summary.variants) > 1 else ""
        plots += _save_variant(summary, curves, variant, folder, suffix)
    return plots


def _save_variant(summary: Summary, curves: pd.DataFrame, variant: str, folder: Path, suffix: str) -> Iterator[Plot]:
    colors = weight_colors(summary.cells["weight"])
    tasks = task_order(summary.cells["task"])
    told = f"Preferred: {kind_text(variant)}."
    front = f"Reward against cost over the weights; bars: 95 % intervals; filled: safe; ring: the best weight. {told}"
    yield save_figure(front_page(summary, variant, colors), folder / f"fronts{suffix}.png", f"All tasks. {front}")
    saved = f"Violations and catastrophes avoided, as a share of the base policy's; dotted: 60 %. {told}"
    yield save_figure(reductions(summary, variant, colors), folder / f"reductions{suffix}.png", saved)
    changed = summary.effects[summary.effects[PREFERRED] == variant]
    if len(changed):
        caption = f"What the best weight changes; bars: 95 % t intervals; filled: p (Holm) below {ALPHA:g}. {told}"
        yield save_figure(forest(changed), folder / f"effects{suffix}.png", caption)
    for task in tasks:
        figure = task_fronts(summary, variant, task, colors)
        yield save_figure(figure, folder / f"front_{task}{suffix}.png", f"{task}. {front}")
    for task in tasks:
        rows = curve_rows(curves, task, variant, headline_threshold(summary.cells, task))
        if len(rows):
            caption = f"{task}. Training metrics over steps: the seeds' mean and range. {told}"
            yield save_figure(learning_curves(rows, task, colors), folder / f"curves_{task}{suffix}.png", caption)
