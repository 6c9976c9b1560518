"""Plots of a summary, as PNG files: reward-cost fronts, reductions against the base policy, learning curves.

A weight has the same colour in every plot: viridis (told apart with any colour vision) by its rank among the
weights of the whole summary. The base policy is black, other methods grey.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from prefine_ray.analysis.efficiency import efficiency, efficiency_series
from prefine_ray.analysis.labels import place_labels
from prefine_ray.analysis.rows import BASE, PREFINE
from prefine_ray.analysis.summary import Summary
from prefine_ray.analysis.table_cells import method_name
from prefine_ray.analysis.tables import headline_threshold, task_order
from prefine_ray.analysis.wording import kind_text, preferences
from prefine_ray.core.files import atomic_path

DPI = 150
SAFE_SHADE, GRID, INK = "#e8f1e4", "#dddddd", "#222222"
BASELINE_MARKERS = "^vDPX<>h"
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


@dataclass(frozen=True)
class Plot:
    """A saved plot, and what a reader needs to know of it."""

    path: Path
    caption: str
    wide: bool  # of several panels: needs the width of a page


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
    front = f"Reward against cost over the weights; bars: 95 % intervals; shaded: safe; ring: the best weight. {told}"
    yield save_figure(front_page(summary, variant, colors), folder / f"fronts{suffix}.png", f"All tasks. {front}")
    saved = f"Violations and catastrophes avoided, as a share of the base policy's; dotted: 60 %. {told}"
    yield save_figure(reductions(summary, variant, colors), folder / f"reductions{suffix}.png", saved)
    for task in tasks:
        figure = task_fronts(summary, variant, task, colors)
        yield save_figure(figure, folder / f"front_{task}{suffix}.png", f"{task}. {front}")
    for task in tasks:
        rows = _curve_rows(curves, task, variant, headline_threshold(summary.cells, task))
        if len(rows):
            caption = f"{task}. Training metrics over steps: the seeds' mean and range. {told}"
            yield save_figure(learning_curves(rows, task, colors), folder / f"curves_{task}{suffix}.png", caption)


def weight_colors(weights: pd.Series) -> dict[float, Any]:
    """A colour for every weight, from dark (the lowest) to light."""
    distinct = sorted(weights.dropna().unique())
    positions = np.linspace(0.0, 0.82, max(2, len(distinct)))
    return dict(zip(distinct, matplotlib.colormaps["viridis"](positions), strict=False))


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
    rows = [_front_rows(summary, variant, *panel) for panel in panels]
    weights = set(pd.concat(rows)["weight"])
    handles = [
        Line2D([], [], color=INK, marker="s", linestyle="", label="base policy"),
        *_weight_handles({weight: color for weight, color in colors.items() if weight in weights}, ""),
        Line2D([], [], color=INK, marker="o", linestyle="", markersize=11, markerfacecolor="none", label="best weight"),
        Line2D([], [], color=INK, linestyle="--", label="threshold"),
        Patch(color=SAFE_SHADE, label="safe"),
    ]
    figure, grid = panel_grid(len(panels), 5, size, handles, label="normalised cost (episode cost / threshold)")
    figure.supylabel("normalised reward", fontsize=10, x=0.06 / figure.get_figwidth(), ha="left")
    for axes, (task, threshold), shown in zip(grid, panels, rows, strict=True):
        axes.set_title(f"{task}, threshold {threshold:g}", fontsize=10)
        _draw_front(axes, shown, colors)
    return figure


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
            _draw_bars(axes, position, _front_rows(summary, variant, task, threshold), kind, colors)
        axes.set_title(f"Fewer {kind}s than the base policy", fontsize=11)
        axes.set_xlabel("reduction, % (below 0: more than the base policy)", fontsize=10)
        axes.set(xlim=(-60, 185), xticks=[-50, 0, 50, 100])
        axes.axvline(60, color=INK, linestyle=":", linewidth=1)
        axes.axvline(0, color=INK, linewidth=0.8)
        plain_axes(axes, "x")
    panels[0].set_yticks(range(len(tasks)), [f"{t}, threshold {c:g}" for t, c in zip(tasks, limits, strict=True)])
    panels[0].set_ylim(len(tasks) - 0.4, -0.6)
    return figure


def learning_curves(rows: pd.DataFrame, task: str, colors: dict[float, Any]) -> Figure:
    """One panel per training metric that the rows have: the seeds' mean over steps, and their range."""
    metrics = [name for name in CURVES if name in rows and rows[name].notna().any()]
    shown = {weight: color for weight, color in colors.items() if weight in set(rows["weight"])}
    figure, grid = panel_grid(len(metrics), 4, (2.35, 1.7), _weight_handles(shown, "-"), label="step", head=0.3)
    for axes, metric in zip(grid, metrics, strict=True):
        for weight, color in shown.items():
            spread = rows[rows["weight"] == weight].groupby("step")[metric].agg(["mean", "min", "max"])
            axes.fill_between(spread.index, spread["min"], spread["max"], color=color, alpha=0.2, linewidth=0)
            axes.plot(spread.index, spread["mean"], color=color, linewidth=1.6)
        axes.set_title(CURVES[metric], fontsize=10)
        plain_axes(axes, "both")
    figure.suptitle(f"{task}: training at cost threshold {rows['threshold'].iloc[0]:g}", fontsize=11, y=0.985)
    return figure


def panel_grid(
    count: int, columns: int, size: tuple[float, float], handles: list[Any], label: str, head: float = 0.0
) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels, `size` inches each, with a label and a legend under them (`head`: inches above).

    The layout is computed here rather than by Matplotlib's engine: several times faster, and final at once.
    """
    columns = min(columns, count)
    lines = -(-count // columns)
    left, right, gap, line_gap, top = 0.75, 0.2, 0.5, 0.6, 0.3 + head
    width = left + columns * size[0] + (columns - 1) * gap + right
    legend_lines = -(-len(handles) // max(3, int(width / 1.2)))
    legend = 0.24 * legend_lines + 0.1
    height = top + lines * size[1] + (lines - 1) * line_gap + 0.6 + legend
    figure = Figure(figsize=(width, height))
    figure.subplots_adjust(left / width, (0.6 + legend) / height, 1 - right / width, 1 - top / height)
    figure.subplots_adjust(wspace=gap / size[0], hspace=line_gap / size[1])
    grid = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes in grid[count:]:
        axes.remove()
    figure.supxlabel(label, fontsize=10, y=(legend + 0.1) / height, va="bottom")
    figure.legend(
        handles=handles, loc="lower center", ncols=-(-len(handles) // legend_lines), frameon=False, fontsize=9
    )
    return figure, list(grid[:count])


def _front_rows(summary: Summary, variant: str, task: str, threshold: float) -> pd.DataFrame:
    cells = summary.cells
    rows = cells[(cells["task"] == task) & (cells["threshold"] == threshold) & cells["preferred"].isin([variant, ""])]
    return rows.sort_values(["method", "weight"])


def _curve_rows(curves: pd.DataFrame, task: str, variant: str, threshold: float) -> pd.DataFrame:
    if curves.empty:
        return curves
    rows = curves[(curves["task"] == task) & (curves["threshold"] == threshold) & (curves["method"] == PREFINE)]
    return rows[rows["preferred"] == variant]


def _draw_front(axes: Axes, rows: pd.DataFrame, colors: dict[float, Any]) -> None:
    """Weights joined by a line, the base policy and other methods as single points, the threshold at cost 1."""
    ours = rows[rows["method"] == PREFINE].sort_values("weight")
    axes.plot(ours["normalized_cost"], ours["normalized_reward"], color="#999999", linewidth=1.2, zorder=2)
    for _, row in ours.iterrows():
        _draw_point(axes, row, colors[row["weight"]], "o")
        if row["chosen"]:
            point = row["normalized_cost"], row["normalized_reward"]
            axes.plot(*point, "o", markersize=13, markerfacecolor="none", markeredgecolor=INK, zorder=5)
    for _, row in rows[rows["method"] == BASE].iterrows():
        _draw_point(axes, row, INK, "s")
    others = rows[~rows["method"].isin([BASE, PREFINE])]
    for (_, row), marker in zip(others.iterrows(), BASELINE_MARKERS * len(rows), strict=False):
        _draw_point(axes, row, "#777777", marker)
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


def _draw_point(axes: Axes, row: pd.Series, color: Any, marker: str) -> None:
    """One policy with the intervals of its reward and cost (none where there is a single seed)."""
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
        markeredgecolor="white",
        markeredgewidth=0.7,
        elinewidth=1.1,
        zorder=4,
    )


def set_cost_axis(axes: Axes, rows: pd.DataFrame) -> None:
    """The safe side shaded; logarithmic over 1 where some policy costs several thresholds."""
    most = float(rows[["normalized_cost", "normalized_cost_high"]].max().max())
    axes.axvspan(-0.5, 1.0, color=SAFE_SHADE, zorder=0, linewidth=0)
    axes.axvline(1.0, color=INK, linestyle="--", linewidth=1.0, zorder=1)
    if most > 3.0:
        axes.set_xscale("symlog", linthresh=1.0, linscale=1.0)
        steps = (0, 0.5, 1, 2, 5, 10, 20) if most < 20.0 else (0, 1, 10, 100)
        ticks = [tick for tick in steps if tick <= most * 1.9]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_xticks([], minor=True)
    axes.set_xlim(-0.08, max(1.25, most * (1.9 if most > 3.0 else 1.15)))
    axes.margins(y=0.2)


def _weight_handles(colors: dict[float, Any], line: str) -> list[Line2D]:
    marker = "" if line else "o"
    return [
        Line2D([], [], color=color, marker=marker, linestyle=line, linewidth=2, label=f"weight {weight:g}")
        for weight, color in colors.items()
    ]


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


def plain_axes(axes: Axes, grid: str) -> None:
    """A frame of two sides, and a pale grid along `grid`: x, y or both."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color=GRID, linewidth=0.6, zorder=0)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9)


def save_figure(figure: Figure, path: Path, caption: str) -> Plot:
    """Writes a PNG file, whole or not at all."""
    FigureCanvasAgg(figure)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=DPI, format="png", facecolor="white")
    return Plot(path, caption, wide=figure.get_figwidth() > 8.0)
