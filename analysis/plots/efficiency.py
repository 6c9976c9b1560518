"""How much reward and cost depend on the number of preferred trajectories, or on gradient steps, as figures."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

from prefine_ray.analysis.columns import BASE, PREFINE
from prefine_ray.analysis.rows import kind_parts
from prefine_ray.analysis.suites import BEST, SUITES
from prefine_ray.analysis.summary import Summary
from prefine_ray.analysis.tables.cells import AVERAGE_COLUMNS, Cell, Column, Row, Table, average_cells, policy_name
from prefine_ray.methods.registry import methods

_LINES = {  # by method; weight 0 and the best weight in the colours of the ends of the weights' scale
    PREFINE: ("#440154", "o", "-"),
    BEST: ("#35b779", "o", "-"),
}
_OTHERS = (
    ("#999999", "v", ":"),
    ("#555555", "^", ":"),
    ("#d95f02", "D", "--"),
    ("#e7298a", "s", "-"),
    ("#7570b3", "s", "--"),
)
_LEGEND: dict[str, Any] = {"loc": "outside lower center", "ncols": 6, "frameon": False, "fontsize": 9}


def efficiency_series(kinds: Iterable[str]) -> list[tuple[str, float]]:
    """The (preferred, label noise) that were tried with more than one number of preferred trajectories."""
    sizes: dict[tuple[str, float], set[int]] = {}
    for word, size, noise in map(kind_parts, kinds):
        sizes.setdefault((word, noise), set()).add(size)
    return sorted(series for series, found in sizes.items() if len(found) > 1)


def efficiency(summary: Summary, preferred: str, label_noise: float) -> Figure:
    """Mean normalised reward and cost over all tasks against N_p: the control, the best weight, the other methods."""
    rows = _series(summary.suites, preferred, label_noise)
    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    _draw_scores(figure.subplots(1, 2), rows, "num_preferred", "number of preferred trajectories")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), **_LEGEND)
    return figure


def budget_rows(summary: Summary, trials: pd.DataFrame) -> pd.DataFrame:
    """The averages over all tasks of the kind of preferences told first, with what each policy took.

    Args:
        summary: of one sweep.
        trials: its rows of trials.parquet.

    Columns: those of `Summary.suites`, `steps`, its gradient steps, and `seconds`, its share of the wall-clock time of
    the fit that trained it beside others.
    """
    parts = kind_parts(summary.variants[0])
    rows = _series(summary.suites, parts[0], parts[2])
    rows = rows[rows["num_preferred"] == parts[1]]
    taken = trials.groupby("method")[["steps", "wall_s"]].mean()
    if PREFINE in taken.index:
        taken.loc[BEST] = taken.loc[PREFINE]
    return rows.assign(steps=rows["method"].map(taken["steps"]), seconds=rows["method"].map(taken["wall_s"]))


def budget(rows: pd.DataFrame) -> Figure:
    """Mean normalised reward and cost over all tasks against gradient steps and seconds.

    Args:
        rows: the `budget_rows` of several sweeps.
    """
    figure = Figure(figsize=(9.0, 6.4), layout="constrained")
    steps, seconds = figure.subplots(2, 2)
    _draw_scores(steps, rows, "steps", "gradient steps")
    _draw_scores(seconds, rows, "seconds", "seconds of training per policy, in fits of many")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), **_LEGEND)
    return figure


def budget_table(rows: pd.DataFrame) -> Table:
    """The `budget_rows` of several sweeps as a table."""
    columns = (Column("Policy", numeric=False), Column("Gradient steps"), Column("Seconds"), *AVERAGE_COLUMNS)
    lines = []
    for method, group in rows.groupby("method", sort=False):
        for place, (_, row) in enumerate(group.sort_values("steps").iterrows()):
            name = policy_name(str(method), 0.0 if method == PREFINE else np.nan)
            taken = [Cell(f"{row['steps']:g}"), Cell(f"{row['seconds']:.1f}")]
            lines.append(Row((Cell(name), *taken, *average_cells(row)), first=place == 0))
    caption = (
        "Averages over all tasks. Seconds: of training per policy, its share of the time of a fit that trains many at"
        " once. Weight 0 is the control; the best weight is picked in each sweep by itself."
    )
    return Table("Reward and cost by gradient steps", caption, columns, tuple(lines))


def _draw_scores(both: Iterable[Axes], rows: pd.DataFrame, over: str, label: str) -> None:
    """Reward and cost against one column, a line for each method."""
    for axes, score in zip(both, ("reward", "cost"), strict=True):
        for method, group in rows.groupby("method", sort=False):
            _draw(axes, group.sort_values(over), str(method), f"normalized_{score}", over)
        axes.set_xscale("log")
        ticks = sorted(rows[over].unique())
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)) if over == "seconds" else FixedLocator(ticks))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set(xlabel=label, ylabel=f"normalised {score}")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#dddddd", linewidth=0.6)
        if score == "cost":
            axes.axhline(1.0, color="#222222", linestyle="--", linewidth=1.0)
            axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))


def _series(suites: pd.DataFrame, preferred: str, label_noise: float) -> pd.DataFrame:
    """The averages over all tasks with their N_p as a column; without the base policy and the other weights."""
    parts = suites["preferred"].map(kind_parts)
    wanted = [(word, noise) == (preferred, label_noise) for word, _, noise in parts]
    rows = suites.assign(num_preferred=[size for _, size, _ in parts])[wanted]
    told = (rows["method"] != BASE) & ((rows["method"] != PREFINE) | (rows["weight"] == 0.0))
    return rows[told & (rows["suite"] == SUITES["all"])]


def _draw(axes: Axes, rows: pd.DataFrame, method: str, score: str, over: str) -> None:
    """One method's line with its intervals (none where there is a single seed)."""
    color, marker, line = _line_of(method)
    low, high = rows[score] - rows[f"{score}_low"], rows[f"{score}_high"] - rows[score]
    spans = np.nan_to_num(np.stack([low, high])).clip(min=0.0)
    style: dict[str, Any] = {"color": color, "marker": marker, "linestyle": line, "markersize": 5, "elinewidth": 1.0}
    label = policy_name(method, 0.0 if method == PREFINE else np.nan)
    axes.errorbar(rows[over], rows[score], yerr=spans, label=label, **style)


def _line_of(method: str) -> tuple[str, str, str]:
    """Colour, marker and line of a method; those that are compared take turns, in the order of their names."""
    others = [name for name in methods() if name not in _LINES]
    place = others.index(method) if method in others else len(others)
    return _LINES.get(method, _OTHERS[place % len(_OTHERS)])
