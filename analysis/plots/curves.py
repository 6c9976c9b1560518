"""Training metrics over steps."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from prefine_ray.analysis.columns import PREFINE
from prefine_ray.analysis.plots.style import (
    panel_grid,
    plain_axes,
    weight_handles,
)

CURVES = {  # columns of curves.parquet and what to call them
    "loss": "Loss",
    "loss_safety": "Safety loss",
    "loss_reward": "Supervised loss",
    "accuracy": "Preference accuracy",
    "margin_preferred": "Log-ratio margin, preferred",
    "margin_dispreferred": "Log-ratio margin, dispreferred",
    "kl": "KL to the reference",
    "entropy": "Entropy",
}


def learning_curves(rows: pd.DataFrame, task: str, colors: dict[float, Any]) -> Figure:
    """One panel per training metric that the rows have: the seeds' mean over steps, and their range."""
    metrics = [name for name in CURVES if name in rows and rows[name].notna().any()]
    shown = {weight: color for weight, color in colors.items() if weight in set(rows["weight"])}
    figure, grid = panel_grid(len(metrics), 4, (2.35, 1.7), weight_handles(shown, "-"), label="step", head=0.3)
    spreads = rows.groupby(["weight", "step"])[metrics].agg(["mean", "min", "max"])
    for axes, metric in zip(grid, metrics, strict=True):
        for weight, color in shown.items():
            spread = spreads[metric].loc[weight]
            axes.fill_between(spread.index, spread["min"], spread["max"], color=color, alpha=0.2, linewidth=0)
            axes.plot(spread.index, spread["mean"], color=color, linewidth=1.6)
        axes.set_title(CURVES[metric], fontsize=10, y=1.0)  # a given place: Matplotlib looks for none
        plain_axes(axes, "both")
    figure.suptitle(f"{task}: training at cost threshold {rows['threshold'].iloc[0]:g}", fontsize=11, y=0.985)
    return figure


def curve_rows(curves: pd.DataFrame, task: str, variant: str, threshold: float) -> pd.DataFrame:
    """The training metrics of PREFINE's runs of one task, kind of preferences and threshold."""
    if curves.empty:
        return curves
    rows = curves[(curves["task"] == task) & (curves["threshold"] == threshold) & (curves["method"] == PREFINE)]
    return rows[rows["preferred"] == variant]
