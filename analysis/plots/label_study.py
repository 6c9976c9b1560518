"""How many answers of simulated raters make a policy safe, as one figure."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from prefine_ray.analysis.best import SAFE
from prefine_ray.analysis.columns import COST, SAFETY, TASK
from prefine_ray.analysis.plots.style import INK, SAFE_SHADE, panel_grid, plain_axes, weight_colors
from prefine_ray.analysis.tables.label_study import USES, study_cells

_STYLES: dict[str, Any] = {"random": "-", "active": (0, (3, 1.5))}  # lines by order of the questions


def answers_figure(rows: pd.DataFrame) -> Figure:
    """Mean normalised cost against the number of answers: a line of panels for each task, a column for each use.

    Colours are error rates, dashes the active order; a filled marker is a safe policy (the upper 95 % limit of its
    mean cost over replicates is at most 1).

    Args:
        rows: of `prefine_ray.labeling.study`.
    """
    cells = study_cells(rows)
    judged = cells[cells["answers"] > 0]
    tasks, uses = list(dict.fromkeys(rows[TASK])), [use for use in USES if use in set(judged["use"])]
    colors = weight_colors(judged["error_rate"])
    handles = _handles(colors, [order for order in _STYLES if order in set(judged["order"])])
    panels = len(tasks) * len(uses)
    figure, grid = panel_grid(panels, len(uses), (2.7, 1.9), handles, label="answers", head=0.15)
    for place, axes in enumerate(grid):
        task, use = tasks[place // len(uses)], uses[place % len(uses)]
        base = cells.loc[(cells[TASK] == task) & (cells["answers"] == 0), COST]
        _draw(axes, judged[(judged[TASK] == task) & (judged["use"] == use)], base, colors)
        axes.set_title(f"{task}: {USES[use]}", fontsize=10)
        if place % len(uses) == 0:
            axes.set_ylabel("normalised cost", fontsize=9)
    return figure


def _handles(colors: dict[float, Any], orders: list[str]) -> list[Line2D]:
    """Legend entries: error rates, orders, what a filled marker is, and the base policy."""
    wrong = [Line2D([], [], color=color, linewidth=2, label=f"{error:.0%} wrong") for error, color in colors.items()]
    lines = [Line2D([], [], color=INK, linestyle=_STYLES[order], label=f"{order} questions") for order in orders]
    marks = [
        Line2D([], [], color=INK, marker="o", linestyle="", markerfacecolor=fill, label=text)
        for fill, text in ((INK, "safe"), ("white", "not safe"))
    ]
    return [*wrong, *lines, *marks, Line2D([], [], color=INK, linestyle=":", label="base policy")]


def _draw(axes: Axes, cells: pd.DataFrame, base: pd.Series, colors: dict[float, Any]) -> None:
    """One panel: a task and a use."""
    axes.axhspan(0.0, 1.0, color=SAFE_SHADE, zorder=0, linewidth=0)
    axes.axhline(1.0, color=INK, linestyle="--", linewidth=1.0, zorder=1)
    for cost in base:
        axes.axhline(cost, color=INK, linestyle=":", linewidth=1.0, zorder=1)
    for (order, error), line in cells.sort_values("answers").groupby(["order", "error_rate"]):
        color = colors[error]
        axes.plot(line["answers"], line[COST], color=color, linestyle=_STYLES[order], linewidth=1.4, zorder=2)
        for is_safe, part in line.groupby(line[SAFETY] == SAFE):
            fill = color if is_safe else "white"
            axes.scatter(part["answers"], part[COST], s=18, color=fill, edgecolors=color, zorder=3)
    ticks = sorted(cells["answers"].unique())
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_ylim(bottom=-0.05)
    plain_axes(axes, "y")
