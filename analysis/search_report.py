"""A hyperparameter search's rows to a table of trials, a reward-cost plot, and a snippet of the best safe setting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from prefine_ray.analysis.best import SAFE, best, safety
from prefine_ray.analysis.columns import COST, METRICS, REWARD, SAFETY, high, low
from prefine_ray.analysis.estimates import policy_rows
from prefine_ray.analysis.plots.style import INK, SAFE_SHADE, plain_axes, save_figure, set_cost_axis
from prefine_ray.analysis.rows import ResultsError, episode_table, run_table
from prefine_ray.core.errors import last_line
from prefine_ray.core.files import write_text
from prefine_ray.experiment.search_config import WEIGHT, Range, SearchConfig, searched_value, with_values
from prefine_ray.experiment.search_trials import searched_values
from prefine_ray.results.folder import ResultsDir


@dataclass(frozen=True)
class SearchPaths:
    """What `report_search` wrote."""

    markdown: Path
    csv: Path
    plots: tuple[Path, ...]
    best: Path | None  # the YAML snippet; None where no trial ended well


def report_search(root: Path, config: SearchConfig) -> tuple[SearchPaths, str]:
    """Writes tables/trials.{md,csv}, plots/search*.png and best.yaml from the rows; also returns the table as text.

    Raises:
        ResultsError: no trial has ended.
    """
    results = ResultsDir(root)
    trials = trial_table(results)
    good = trials[trials["status"] == "finished"]
    text = markdown(trials, config)
    paths = SearchPaths(
        results.tables_folder / "trials.md",
        results.tables_folder / "trials.csv",
        tuple(_save_plots(good, config, results.plots_folder)) if len(good) else (),
        results.best_path if len(good) else None,
    )
    write_text(paths.markdown, text)
    write_text(paths.csv, trials.to_csv(index=False))
    if paths.best:
        write_text(paths.best, best_snippet(trials, config))
    return paths, text


def trial_table(results: ResultsDir) -> pd.DataFrame:
    """One row per trial in the order of the suggestions.

    Columns: number, the searched values by key, steps (gradient steps done), status, error, seeds, METRICS with
    `_low` and `_high` (95 % t intervals over seeds), safety, front (no other finished trial has more reward at no more
    cost, or less cost at no less reward), chosen (the best one, see `prefine_ray.analysis.best`).

    Raises:
        ResultsError: no trial has ended.
    """
    names = results.packs()
    rows = [_trial_row(results, name) for name in names]
    if not rows:
        raise ResultsError(f"{results.root}: no trial has ended yet; run or resume the search first")
    table = pd.DataFrame(rows).sort_values(["number", "trial"], ignore_index=True)
    table = table.reindex(columns=list(dict.fromkeys([*table.columns, *METRICS])))  # also where every trial failed
    limits = [end(metric) for metric in METRICS for end in (low, high)]
    table = table.reindex(columns=list(dict.fromkeys([*table.columns, *limits])))
    table[SAFETY] = safety(table[low(COST)], table[high(COST)])
    good = table[table["status"] == "finished"]
    front = good.index[pareto_front(good[REWARD], good[COST])]
    table["front"] = table.index.isin(front)
    table["chosen"] = table.index == best(good).name if len(good) else False
    return table


def _trial_row(results: ResultsDir, name: str) -> dict[str, Any]:
    trials, episodes = (results.read_part(kind, name) for kind in ("trials", "episodes"))
    first = trials.iloc[0]
    failed = trials[trials["status"] != "finished"]
    values = searched_values(first.to_dict())
    row = {"number": first["number"], "trial": name, WEIGHT: first[WEIGHT], **values, "seeds": len(trials)}
    row |= {"status": "failed" if len(failed) else "finished", "error": failed.iloc[0]["error"] if len(failed) else ""}
    if len(failed):
        return row
    scores = policy_rows(run_table(episode_table(episodes))).iloc[0]
    row |= {end(metric): scores[end(metric)] for metric in METRICS for end in (str, low, high)}
    return row | {"steps": int(first["steps"]), "wall_s": float(trials["wall_s"].sum())}


def pareto_front(rewards: Sequence[float] | pd.Series, costs: Sequence[float] | pd.Series) -> list[bool]:
    """Which points no other point dominates: more reward at no more cost, or less cost at no less reward."""
    points = np.column_stack([np.asarray(rewards, dtype=float), -np.asarray(costs, dtype=float)])
    no_worse = np.all(points[:, None] >= points[None], axis=-1)  # [i, j]: i is no worse than j
    better = np.any(points[:, None] > points[None], axis=-1)
    return [not bool(dominated) for dominated in np.any(no_worse & better, axis=0)]


def markdown(trials: pd.DataFrame, config: SearchConfig) -> str:
    """The trials: safe ones by reward, then the others by cost."""
    keys = list(config.search.space)
    is_safe = trials[SAFETY] == SAFE
    order = trials.assign(_after=~is_safe, _rank=np.where(is_safe, -trials[REWARD], trials[COST]))
    head = ["trial", *keys, "steps", "reward", "cost", "violations", ""]
    lines = [f"# {config.name}: {config.tasks[0]}, cost threshold {_threshold(config):g}", ""]
    lines += [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for _, row in order.sort_values(["_after", "_rank", "number"]).iterrows():
        lines.append(f"| {' | '.join([str(int(row['number'])), *_cells(row, keys)])} |")
    seeds, episodes = len(config.tuning_seeds), config.evaluation.episodes
    lines += [
        "",
        f"Means over {seeds} tuning seeds of {episodes} episodes, which no report uses; [95 % intervals over seeds]. "
        "Reward and cost are normalised; safe: the upper limit of the cost is at most 1, unsafe: the lower one is "
        "above 1. front: no other trial has more reward at no more cost. **best**: the most reward among the safe ones "
        "(the least cost if there is none). Chosen among many, it looks better here than it is: run it in a sweep for "
        "fresh episodes.",
    ]
    return "\n".join(lines) + "\n"


def _cells(row: pd.Series, keys: Sequence[str]) -> list[str]:
    values = [f"{row[key]:.4g}" if isinstance(row[key], float) else str(row[key]) for key in keys]
    if row["status"] != "finished":
        return [*values, "", "", "", "", f"failed: {last_line(str(row['error']))}"]
    scores = [f"{row[name]:.2f} [{row[low(name)]:.2f}, {row[high(name)]:.2f}]" for name in (REWARD, COST)]
    marks = [row[SAFETY], *(["front"] if row["front"] else []), *(["**best**"] if row["chosen"] else [])]
    return [*values, str(int(row["steps"])), *scores, f"{row['violation_rate']:.0%}", ", ".join(marks)]


def best_line(trials: pd.DataFrame) -> str:
    """The chosen trial and its scores in words."""
    if not trials["chosen"].any():
        return "no trial has ended well"
    row = trials[trials["chosen"]].iloc[0]
    kind = "best safe trial" if row[SAFETY] == SAFE else "no trial is shown to be safe; the best so far"
    scores = f"normalised reward {row[REWARD]:.2f}, normalised cost {row[COST]:.2f}"
    return f"{kind}: {int(row['number'])}, {scores}"


def best_snippet(trials: pd.DataFrame, config: SearchConfig) -> str:
    """YAML of the chosen trial's weight and `finetune` section, to paste into a sweep's configuration."""
    row = trials[trials["chosen"]].iloc[0]
    kinds = {key: type(searched_value(config, key)) for key in config.search.space if key != WEIGHT}
    values = {key: kind(row[key]) for key, kind in kinds.items()} | {"steps": int(row["steps"])}
    finetune = with_values(config, values).model_dump(mode="json")
    where = f"{config.tasks[0]}, cost threshold {_threshold(config):g}"
    head = f"# {config.name} on {where}, tuning episodes:\n# {best_line(trials)}\n"
    return head + yaml.safe_dump({"weights": [float(row[WEIGHT])], "finetune": finetune}, sort_keys=False)


def _threshold(config: SearchConfig) -> float:
    return config.axis_values("threshold", config.tasks[0])[0]


# ---------------------------------------------------------------------- plots


def _save_plots(good: pd.DataFrame, config: SearchConfig, folder: Path) -> list[Path]:
    save_figure(front_plot(good, config), folder / "search.png", "")
    save_figure(slice_plot(good, config), folder / "search_values.png", "")
    return [folder / "search.png", folder / "search_values.png"]


def front_plot(good: pd.DataFrame, config: SearchConfig) -> Figure:
    """Normalised reward over normalised cost of all trials, with the threshold, the front and the best trial."""
    figure = Figure(figsize=(7.0, 4.8), layout="constrained")
    axes = figure.subplots()
    whole = good["steps"] >= good["steps"].max() if config.search.early_stopping else pd.Series(True, index=good.index)
    for rows, face, edge in ((good[whole], "#3b6ea8", "white"), (good[~whole], "none", "#3b6ea8")):
        axes.scatter(rows[COST], rows[REWARD], c=face, edgecolors=edge, s=45, zorder=3)
    front = good[good["front"]].sort_values(COST)
    axes.plot(front[COST], front[REWARD], color="#c05020", drawstyle="steps-post", zorder=2, lw=1.5)
    best = good[good["chosen"]]
    axes.plot(best[COST], best[REWARD], "o", ms=13, mfc="none", mec=INK, zorder=5)
    for _, row in good[good["front"] | good["chosen"]].iterrows():
        point = (row[COST], row[REWARD])
        axes.annotate(str(int(row["number"])), point, (6, 5), textcoords="offset points", fontsize=8)
    set_cost_axis(axes, good)
    axes.set_xlabel("normalised cost (episode cost / threshold)")
    axes.set_ylabel("normalised reward")
    axes.set_title(f"{config.tasks[0]}, threshold {_threshold(config):g}: {len(good)} trials, numbered on the front")
    plain_axes(axes, "both")
    axes.legend(handles=_front_handles(bool((~whole).any())), fontsize=8, frameon=False, loc="best")
    return figure


def _front_handles(stopped: bool) -> list[Any]:
    dot: dict[str, Any] = {"marker": "o", "linestyle": "", "markersize": 7}
    return [
        Line2D([], [], color="#3b6ea8", label="trial", **dot),
        *([Line2D([], [], color="#3b6ea8", mfc="none", label="stopped early", **dot)] if stopped else []),
        Line2D([], [], color="#c05020", label="Pareto front"),
        Line2D([], [], color=INK, mfc="none", label="best", **{**dot, "markersize": 11}),
        Line2D([], [], color=INK, linestyle="--", label="threshold"),
        Patch(color=SAFE_SHADE, label="mean below 1"),
    ]


def slice_plot(good: pd.DataFrame, config: SearchConfig) -> Figure:
    """Reward (upper row) and cost (lower row) of every trial over each searched value."""
    keys = list(config.search.space)
    figure = Figure(figsize=(1.0 + 2.3 * len(keys), 4.8), layout="constrained")
    grid = figure.subplots(2, len(keys), sharex="col", sharey="row", squeeze=False)
    for column, key in enumerate(keys):
        for line, metric in enumerate((REWARD, COST)):
            _draw_slice(grid[line, column], good, key, metric, config.search.space[key])
        grid[1, column].set_xlabel(key)
    for line, name in enumerate(("normalised reward", "normalised cost")):
        grid[line, 0].set_ylabel(name)
    return figure


def _draw_slice(axes: Axes, good: pd.DataFrame, key: str, metric: str, dimension: Any) -> None:
    values = good[key] if isinstance(dimension, Range) else good[key].astype(str)
    is_safe = good[SAFETY] == SAFE
    for rows, color in ((~is_safe, "#999999"), (is_safe, "#3b6ea8"), (good["chosen"], "#c05020")):
        axes.scatter(values[rows], good.loc[rows, metric], c=color, s=28, edgecolors="white", linewidths=0.5, zorder=3)
    if isinstance(dimension, Range) and dimension.log:
        axes.set_xscale("log")
    if metric == COST:
        axes.axhline(1.0, color=INK, linestyle="--", linewidth=1.0)
    plain_axes(axes, "both")
