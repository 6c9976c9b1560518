"""How much reward and cost depend on the number of preferred trajectories, as a figure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.rows import BASE, PREFINE, kind_parts
from analysis.summary import BEST, SUITES, Summary
from analysis.table_cells import policy_name

_LINES = {  # by method; weight 0 and the best weight in the colours of the ends of the weights' scale
    PREFINE: ("#440154", "o", "-"),
    BEST: ("#35b779", "o", "-"),
    "sft": ("#e7298a", "s", "-"),
    "bc_all": ("#999999", "v", ":"),
    "bc_safe": ("#555555", "^", ":"),
    "cpl": ("#d95f02", "D", "--"),
    "trac": ("#7570b3", "s", "--"),
}


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
    for axes, score in zip(figure.subplots(1, 2), ("reward", "cost"), strict=True):
        for method, group in rows.groupby("method", sort=False):
            _draw(axes, group.sort_values("num_preferred"), str(method), f"normalized_{score}")
        axes.set_xscale("log")
        ticks = sorted(rows["num_preferred"].unique())
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_xticks([], minor=True)
        axes.set(xlabel="number of preferred trajectories", ylabel=f"normalised {score}")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#dddddd", linewidth=0.6)
    axes.axhline(1.0, color="#222222", linestyle="--", linewidth=1.0)
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=6, frameon=False, fontsize=9)
    return figure


def _series(suites: pd.DataFrame, preferred: str, label_noise: float) -> pd.DataFrame:
    """The averages over all tasks with their N_p as a column; without the base policy and the other weights."""
    parts = suites["preferred"].map(kind_parts)
    wanted = [(word, noise) == (preferred, label_noise) for word, _, noise in parts]
    rows = suites.assign(num_preferred=[size for _, size, _ in parts])[wanted]
    told = (rows["method"] != BASE) & ((rows["method"] != PREFINE) | (rows["weight"] == 0.0))
    return rows[told & (rows["suite"] == SUITES["all"])]


def _draw(axes: Axes, rows: pd.DataFrame, method: str, score: str) -> None:
    """One method's line with its intervals (none where there is a single seed)."""
    color, marker, line = _LINES.get(method, ("#000000", "x", "--"))
    low, high = rows[score] - rows[f"{score}_low"], rows[f"{score}_high"] - rows[score]
    spans = np.nan_to_num(np.stack([low, high])).clip(min=0.0)
    style: dict[str, Any] = {"color": color, "marker": marker, "linestyle": line, "markersize": 5, "elinewidth": 1.0}
    label = policy_name(method, 0.0 if method == PREFINE else np.nan)
    axes.errorbar(rows["num_preferred"], rows[score], yerr=spans, label=label, **style)
