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
from prefine_ray.analysis.columns import BASE, CATASTROPHES, COST, PREFINE, REWARD, SAFETY, VIOLATIONS, high, low
from prefine_ray.analysis.plots.labels import place_labels
from prefine_ray.analysis.plots.style import (
    INK,
    SAFE_SHADE,
    front_rows,
    panel_grid,
    plain_axes,
    set_cost_axis,
    show_under_pointer,
    weight_handles,
    with_interval,
)
from prefine_ray.analysis.summary import Summary
from prefine_ray.analysis.tables.cells import method_name
from prefine_ray.analysis.thresholds import headline_threshold, task_order

BASELINE_MARKERS = "^vDPX<>h"
_LEAST_SPAN = 0.2  # of rewards: methods within a span of this of PREFINE's are always shown where they are


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
        if len(shown):
            _draw_front(axes, shown, colors)
    return figure


def _draw_front(axes: Axes, rows: pd.DataFrame, colors: dict[float, Any]) -> None:
    """Weights joined by a line, the base policy and other methods as single points, the threshold at cost 1."""
    limits = _reward_limits(rows)
    rows = _others_at_the_edge(rows, *limits)
    ours = rows[rows["method"] == PREFINE].sort_values("weight")
    axes.plot(ours[COST], ours[REWARD], color="#999999", linewidth=1.2, zorder=2)
    for _, row in ours.iterrows():
        draw_policy(axes, row, colors[row["weight"]], "o")
        if row["chosen"]:
            axes.plot(row[COST], row[REWARD], "o", markersize=13, mfc="none", mec=INK, zorder=5)
    for _, row in rows[rows["method"] == BASE].iterrows():
        draw_policy(axes, row, INK, "s")
    others = rows[~rows["method"].isin([BASE, PREFINE])]
    for (_, row), marker in zip(others.iterrows(), BASELINE_MARKERS * len(rows), strict=False):
        draw_policy(axes, row, "#777777", marker)
    set_cost_axis(axes, rows)
    axes.set_ylim(*limits)
    plain_axes(axes, "both")
    _name_points(axes, rows)


def _reward_limits(rows: pd.DataFrame) -> tuple[float, float]:
    """The rewards that a panel shows: of the base policy and all weights, and of the other methods that are near."""
    ours = rows[rows["method"].isin([BASE, PREFINE])]
    low_limit, high_limit = _reward_span(rows if ours.empty else ours)
    room = max(high_limit - low_limit, _LEAST_SPAN)
    near = rows[rows["method"].isin([BASE, PREFINE]) | rows[REWARD].between(low_limit - room, high_limit + room)]
    low_limit, high_limit = _reward_span(near)
    margin = 0.2 * max(high_limit - low_limit, _LEAST_SPAN)
    return low_limit - margin, high_limit + margin


def _reward_span(rows: pd.DataFrame) -> tuple[float, float]:
    rewards = rows[[REWARD, low(REWARD), high(REWARD)]].to_numpy(dtype=float)
    return float(np.nanmin(rewards)), float(np.nanmax(rewards))


def _others_at_the_edge(rows: pd.DataFrame, low_limit: float, high_limit: float) -> pd.DataFrame:
    """The rows with what is told of each; those outside the limits moved to the edge, with an arrow and the reward."""
    outside = (rows[REWARD] - rows[REWARD].clip(low_limit, high_limit)).apply(np.sign)
    arrows = outside.map({-1.0: " ↓", 0.0: "", 1.0: " ↑"}) + rows[REWARD].map("{:.2f}".format).where(outside != 0, "")
    told = [f"{_name(row)}: {_values(row)}" for _, row in rows.iterrows()]
    moved = rows.assign(told=told, label=rows.apply(_label, axis=1) + arrows)
    inside = 0.06 * (high_limit - low_limit)
    moved[REWARD] = rows[REWARD].where(outside == 0, rows[REWARD].clip(low_limit + inside, high_limit - inside))
    moved.loc[outside != 0, [low(REWARD), high(REWARD)]] = np.nan
    return moved


def _name(row: pd.Series) -> str:
    return f"weight {row['weight']:g}" if row["method"] == PREFINE else method_name(row["method"])


def _label(row: pd.Series) -> str:
    return f"{row['weight']:g}" if row["method"] == PREFINE else method_name(row["method"])


def _values(row: pd.Series) -> str:
    rates = f"violations {row[VIOLATIONS]:.0%}, catastrophes {row[CATASTROPHES]:.0%}"
    return f"reward {with_interval(row, REWARD)}, cost {with_interval(row, COST)}, {rates}, {row[SAFETY]}"


def _name_points(axes: Axes, rows: pd.DataFrame) -> None:
    """Labels beside all points but the base policy's, whose marker is in the legend."""
    named, base = rows[rows["method"] != BASE], rows[rows["method"] == BASE]
    names = [name + end for name in (COST, REWARD) for end in ("", "_low", "_high")]
    path = rows[rows["method"] == PREFINE].sort_values("weight")[[COST, REWARD]].to_numpy(dtype=float)
    points = pd.concat([named, base])[names].to_numpy(dtype=float).reshape(-1, 2, 3)
    place_labels(axes, points, list(named["label"]), path)


def draw_policy(axes: Axes, row: pd.Series, color: Any, marker: str) -> None:
    """One policy, hollow where it is not shown to be safe, with its intervals (none where there is a single seed)."""
    is_safe = row[SAFETY] == SAFE
    spans = []
    for name in (COST, REWARD):
        below, above = row[name] - row[low(name)], row[high(name)] - row[name]
        spans.append(np.nan_to_num([[max(0.0, below)], [max(0.0, above)]]))
    drawn = axes.errorbar(
        row[COST],
        row[REWARD],
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
    show_under_pointer(drawn[0], row["told"])
