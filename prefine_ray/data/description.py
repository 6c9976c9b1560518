"""What a data set holds, in words and as a picture."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from prefine_ray.core.files import atomic_path
from prefine_ray.data.episodes import EpisodeSummary
from prefine_ray.tasks.spec import Task

_QUANTILES = {"min": 0.0, "10%": 0.1, "25%": 0.25, "median": 0.5, "75%": 0.75, "90%": 0.9, "max": 1.0}


_BAR_WIDTH = 40  # characters of the longest bar


_MOST_BINS = 20


def cost_histogram(costs: NDArray[np.float64]) -> str:
    """Episode costs [E] as lines of text: interval, count and a bar; intervals are open below, closed above."""
    width = _round_width(max(float(costs.max()), 1.0) / _MOST_BINS)
    edges = width * np.arange(1, max(math.ceil(costs.max() / width), 1) + 1)
    counts = np.bincount(np.searchsorted(edges, costs, side="left"), minlength=len(edges))
    labels = [f"cost <= {edges[0]:g}"] + [f"{low:g} < cost <= {low + width:g}" for low in edges[:-1]]
    bars = ["#" * math.ceil(_BAR_WIDTH * count / counts.max()) for count in counts]
    pad = max(map(len, labels))
    return "\n".join(
        f"  {label:>{pad}} {count:6d} {bar}".rstrip() for label, count, bar in zip(labels, counts, bars, strict=True)
    )


def _round_width(width: float) -> float:
    """The smallest of 1, 2, 5, 10 times a power of ten that is at least `width`."""
    magnitude = 10.0 ** math.floor(math.log10(width))
    return next(step * magnitude for step in (1, 2, 5, 10) if step * magnitude >= width * (1 - 1e-9))


def describe(summary: EpisodeSummary, task: Task) -> str:
    """What a data set of this task holds, as text: size, quantiles, safe and unsafe episodes per threshold, costs."""
    return "\n\n".join(
        [_headline(summary, task), _quantiles(summary, task), _thresholds(summary, task), _histogram_section(summary)]
    )


def _headline(summary: EpisodeSummary, task: Task) -> str:
    shortest, longest = summary.lengths.min(), summary.lengths.max()
    lines = [
        f"{task.name}: {len(summary):,} episodes, {summary.lengths.sum():,} steps; {shortest} to {longest} steps long "
        f"(horizon {task.horizon}), {summary.terminated.sum():,} ended by the simulator"
    ]
    too_long = int((summary.lengths > task.horizon).sum())
    if too_long:
        lines.append(f"Warning: {too_long} episodes are longer than the horizon; the data may miss episode ends.")
    return "\n".join(lines)


def _quantiles(summary: EpisodeSummary, task: Task) -> str:
    rows = {
        "return": summary.returns,
        "normalised reward": task.normalized_reward(summary.returns),
        "cost": summary.costs,
    }
    lines = [" " * 17 + "".join(f"{name:>11}" for name in _QUANTILES)]
    for name, values in rows.items():
        quantiles = np.quantile(values, list(_QUANTILES.values()))
        lines.append(f"{name:<17}" + "".join(f"{value:11.2f}" for value in quantiles))
    return "\n".join(lines)


def _thresholds(summary: EpisodeSummary, task: Task) -> str:
    lines = ["threshold   safe (cost <= threshold)   unsafe (cost > threshold)   best safe return (normalised)"]
    for threshold in task.thresholds:
        safe = summary.costs <= threshold
        best = "none"
        if safe.any():
            highest = float(summary.returns[safe].max())
            best = f"{highest:.2f} ({task.normalized_reward(highest):.2f})"
        lines.append(
            f"{threshold:9g}   {_share(int(safe.sum()), len(summary)):>24}   "
            f"{_share(int((~safe).sum()), len(summary)):>25}   {best:>29}"
        )
    return "\n".join(lines)


def _share(count: int, total: int) -> str:
    return f"{count:,} ({100 * count / total:.1f} %)"


def _histogram_section(summary: EpisodeSummary) -> str:
    return "Episode costs:\n" + cost_histogram(summary.costs)


def plot_reward_cost(summary: EpisodeSummary, task: Task, path: str | Path) -> None:
    """Draws return (and normalised reward, right axis) against cost, one dot per episode, with the task's thresholds.

    The ending of `path` chooses the format (.png, .pdf, .svg); the file is written atomically.
    """
    from matplotlib.figure import Figure  # here: Ray workers read data without paying for matplotlib

    figure = Figure(figsize=(7.0, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.scatter(summary.costs, summary.returns, s=10, alpha=0.5, linewidths=0)
    for threshold, style in zip(task.thresholds, itertools.cycle(("-", "--", ":")), strict=False):
        safe = int((summary.costs <= threshold).sum())
        label = f"threshold {threshold:g}: {safe} safe, {len(summary) - safe} unsafe"
        axes.axvline(threshold, color="tab:red", linestyle=style, linewidth=1.2, label=label)
    span = task.reward_max - task.reward_min
    right = axes.secondary_yaxis(
        "right",
        functions=(
            lambda returns: task.normalized_reward(np.asarray(returns, dtype=np.float64)),
            lambda normalised: np.asarray(normalised, dtype=np.float64) * span + task.reward_min,
        ),
    )
    right.set_ylabel("normalised reward")
    axes.set(xlabel="episode cost", ylabel="episode return", title=f"{task.name}: {len(summary):,} episodes")
    axes.legend(fontsize="small")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)
