"""What all plots share: colours, axes, a grid of panels, saving."""

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

from prefine_ray.analysis.columns import high, low
from prefine_ray.analysis.rows import same_kind
from prefine_ray.analysis.summary import Summary
from prefine_ray.core.files import atomic_path

DPI = 150


SAFE_SHADE, GRID, INK = "#e8f1e4", "#dddddd", "#222222"


@dataclass(frozen=True)
class Spot:
    """A place of a picture whose values the report shows under the pointer."""

    left: float  # % of the picture's width
    top: float  # % of its height
    text: str


@dataclass(frozen=True)
class Plot:
    """A saved plot, and what a reader needs to know of it."""

    path: Path
    caption: str
    wide: bool  # of several panels: needs the width of a page
    spots: tuple[Spot, ...] = ()


def weight_colors(weights: pd.Series) -> dict[float, Any]:
    """A colour for every weight, from dark (the lowest) to light."""
    distinct = sorted(weights.dropna().unique())
    positions = np.linspace(0.0, 0.82, max(2, len(distinct)))
    return dict(zip(distinct, matplotlib.colormaps["viridis"](positions), strict=False))


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
    legend_lines = -(-len(handles) // max(3, int(width / 1.35)))
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


def front_rows(summary: Summary, variant: str, task: str, threshold: float) -> pd.DataFrame:
    """All policies of a panel: a task, a threshold, and a kind of preferences or none."""
    cells = summary.cells
    cells = cells[cells["preferred"].isin(same_kind(variant))]
    rows = cells[(cells["task"] == task) & (cells["threshold"] == threshold)]
    return rows.sort_values(["method", "weight"])


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


def weight_handles(colors: dict[float, Any], line: str) -> list[Line2D]:
    """Legend entries of the weights, as dots or (with a line style) as lines."""
    marker = "" if line else "o"
    return [
        Line2D([], [], color=color, marker=marker, linestyle=line, linewidth=2, label=f"weight {weight:g}")
        for weight, color in colors.items()
    ]


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
    return Plot(path, caption, wide=figure.get_figwidth() > 8.0, spots=tuple(_spots(figure)))


def show_under_pointer(point: Line2D, text: str) -> None:
    """Makes `text` what the report shows under the pointer at a line of a single point."""
    point.set_gid(text)


def with_interval(row: pd.Series, score: str) -> str:
    """A score with its interval, as "0.61 [0.58, 0.64]"."""
    low_limit, high_limit = row[low(score)], row[high(score)]
    interval = "" if pd.isna(low_limit) or pd.isna(high_limit) else f" [{low_limit:.2f}, {high_limit:.2f}]"
    return f"{row[score]:.2f}{interval}"


def _spots(figure: Figure) -> Iterator[Spot]:
    """The points with a text, once the layout is final."""
    for point in figure.findobj(Line2D):
        if isinstance(point, Line2D) and point.get_gid():
            place = np.column_stack(point.get_data()).astype(float)[:1]
            left, height = point.get_transform().transform(place)[0] / figure.bbox.size
            yield Spot(round(100 * float(left), 2), round(100 * (1 - float(height)), 2), str(point.get_gid()))
