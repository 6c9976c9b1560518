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

from prefine_ray.analysis.plots import INK, SAFE_SHADE, plain_axes, save_figure, set_cost_axis
from prefine_ray.analysis.rows import METRICS, ResultsError, run_table
from prefine_ray.analysis.statistics import BOOTSTRAP_SEED, bootstrap_interval, mean
from prefine_ray.analysis.summary import choose_weight
from prefine_ray.core.files import write_text
from prefine_ray.experiment.search_config import WEIGHT, Range, SearchConfig, searched_value, with_values
from prefine_ray.results.folder import ResultsDir
from prefine_ray.tracking.cell_record import part_versions

_ASKED = "search."  # prefix of the trials' columns that hold the searched values


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
    trials = trial_table(ResultsDir(root))
    good = trials[trials["status"] == "finished"]
    text = markdown(trials, config)
    paths = SearchPaths(
        root / "tables" / "trials.md",
        root / "tables" / "trials.csv",
        tuple(_save_plots(good, config, root / "plots")) if len(good) else (),
        root / "best.yaml" if len(good) else None,
    )
    write_text(paths.markdown, text)
    write_text(paths.csv, trials.to_csv(index=False))
    if paths.best:
        write_text(paths.best, best_snippet(trials, config))
    return paths, text


def trial_table(results: ResultsDir) -> pd.DataFrame:
    """One row per trial in the order of the suggestions.

    Columns: number, the searched values by key, steps (gradient steps done), status, error, seeds, METRICS with
    `_low` and `_high` (95 % bootstrap intervals over seeds), safe (mean normalised cost at most 1), front (no other
    finished trial has more reward at no more cost, or less cost at no less reward), chosen (the best safe one).

    Raises:
        ResultsError: no trial has ended.
    """
    names = list(part_versions(results))
    rows = [_trial_row(results, name) for name in names]
    if not rows:
        raise ResultsError(f"{results.root}: no trial has ended yet; run or resume the search first")
    table = pd.DataFrame(rows).sort_values(["number", "trial"], ignore_index=True)
    table = table.reindex(columns=list(dict.fromkeys([*table.columns, *METRICS])))  # also where every trial failed
    table["safe"] = table["normalized_cost"] <= 1.0
    good = table[table["status"] == "finished"]
    front = good.index[pareto_front(good["normalized_reward"], good["normalized_cost"])]
    table["front"] = table.index.isin(front)
    table["chosen"] = table.index == choose_weight(good).name if len(good) else False
    return table


def _trial_row(results: ResultsDir, name: str) -> dict[str, Any]:
    trials, episodes = (results.read_part(kind, name) for kind in ("trials", "episodes"))
    first = trials.iloc[0]
    failed = trials[trials["status"] != "finished"]
    columns = [str(column) for column in trials if str(column).startswith(_ASKED)]
    asked = {column.removeprefix(_ASKED): first[column] for column in columns}
    row = {"number": first["number"], "trial": name, WEIGHT: first[WEIGHT], **asked, "seeds": len(trials)}
    row |= {"status": "failed" if len(failed) else "finished", "error": failed.iloc[0]["error"] if len(failed) else ""}
    if len(failed):
        return row
    runs = run_table(episodes[episodes["stage"] == "finetuned"])
    for metric in METRICS:
        scores = runs[[metric]].to_numpy(dtype=float)
        row[metric] = float(scores.mean())
        interval = bootstrap_interval(scores, mean, np.random.default_rng(BOOTSTRAP_SEED))
        row[f"{metric}_low"], row[f"{metric}_high"] = interval
    return row | {"steps": int(first["steps"]), "wall_s": float(trials["wall_s"].sum())}


def pareto_front(rewards: Sequence[float] | pd.Series, costs: Sequence[float] | pd.Series) -> list[bool]:
    """Which points no other point dominates: more reward at no more cost, or less cost at no less reward."""
    points = np.column_stack([np.asarray(rewards, dtype=float), -np.asarray(costs, dtype=float)])
    no_worse = (points[:, None] >= points[None]).all(axis=-1)  # [i, j]: i is no worse than j
    better = (points[:, None] > points[None]).any(axis=-1)
    return [not bool(dominated) for dominated in (no_worse & better).any(axis=0)]


def markdown(trials: pd.DataFrame, config: SearchConfig) -> str:
    """The trials, best first: safe ones by reward, then the others by cost."""
    keys = list(config.search.space)
    unsafe = 1e6 + trials["normalized_cost"].fillna(1e6)
    order = trials.assign(_rank=np.where(trials["safe"], -trials["normalized_reward"], unsafe))
    head = ["trial", *keys, "steps", "reward", "cost", "violations", ""]
    lines = [f"# {config.name}: {config.tasks[0]}, cost threshold {_threshold(config):g}", ""]
    lines += [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for _, row in order.sort_values(["_rank", "number"]).iterrows():
        lines.append(f"| {' | '.join([str(int(row['number'])), *_cells(row, keys)])} |")
    seeds, episodes = len(config.tuning_seeds), config.evaluation.episodes
    lines += [
        "",
        f"Means over {seeds} tuning seeds of {episodes} episodes, which no report uses; [95 % intervals over seeds]. "
        "Reward and cost are normalised; a cost of at most 1 is safe. front: no other trial has more reward at no "
        "more cost. **best**: the most reward among those whose upper limit of the cost is at most 1 (the least cost "
        "if there is none). Chosen among many, it looks better here than it is: run it in a sweep for fresh episodes.",
    ]
    return "\n".join(lines) + "\n"


def _cells(row: pd.Series, keys: Sequence[str]) -> list[str]:
    values = [f"{row[key]:.4g}" if isinstance(row[key], float) else str(row[key]) for key in keys]
    if row["status"] != "finished":
        return [*values, "", "", "", "", f"failed: {str(row['error']).strip().splitlines()[-1]}"]
    scores = [
        f"{row[name]:.2f} [{row[f'{name}_low']:.2f}, {row[f'{name}_high']:.2f}]"
        for name in ("normalized_reward", "normalized_cost")
    ]
    marks = [name for name in ("safe", "front") if row[name]] + (["**best**"] if row["chosen"] else [])
    return [*values, str(int(row["steps"])), *scores, f"{row['violation_rate']:.0%}", ", ".join(marks)]


def best_line(trials: pd.DataFrame) -> str:
    """The chosen trial and its scores in words."""
    if not trials["chosen"].any():
        return "no trial has ended well"
    row = trials[trials["chosen"]].iloc[0]
    kind = "best safe trial" if row["safe"] else "no trial is safe; the one of the least cost"
    scores = f"normalised reward {row['normalized_reward']:.2f}, normalised cost {row['normalized_cost']:.2f}"
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
        axes.scatter(rows["normalized_cost"], rows["normalized_reward"], c=face, edgecolors=edge, s=45, zorder=3)
    front = good[good["front"]].sort_values("normalized_cost")
    axes.plot(
        front["normalized_cost"], front["normalized_reward"], color="#c05020", drawstyle="steps-post", zorder=2, lw=1.5
    )
    best = good[good["chosen"]]
    axes.plot(best["normalized_cost"], best["normalized_reward"], "o", ms=13, mfc="none", mec=INK, zorder=5)
    for _, row in good[good["front"] | good["chosen"]].iterrows():
        point = (row["normalized_cost"], row["normalized_reward"])
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
        Line2D([], [], color=INK, mfc="none", label="best safe", **{**dot, "markersize": 11}),
        Line2D([], [], color=INK, linestyle="--", label="threshold"),
        Patch(color=SAFE_SHADE, label="safe"),
    ]


def slice_plot(good: pd.DataFrame, config: SearchConfig) -> Figure:
    """Reward (upper row) and cost (lower row) of every trial over each searched value."""
    keys = list(config.search.space)
    figure = Figure(figsize=(1.0 + 2.3 * len(keys), 4.8), layout="constrained")
    grid = figure.subplots(2, len(keys), sharex="col", sharey="row", squeeze=False)
    for column, key in enumerate(keys):
        for line, metric in enumerate(("normalized_reward", "normalized_cost")):
            _draw_slice(grid[line, column], good, key, metric, config.search.space[key])
        grid[1, column].set_xlabel(key)
    for line, name in enumerate(("normalised reward", "normalised cost")):
        grid[line, 0].set_ylabel(name)
    return figure


def _draw_slice(axes: Axes, good: pd.DataFrame, key: str, metric: str, dimension: Any) -> None:
    values = good[key] if isinstance(dimension, Range) else good[key].astype(str)
    for rows, color in ((~good["safe"], "#999999"), (good["safe"], "#3b6ea8"), (good["chosen"], "#c05020")):
        axes.scatter(values[rows], good.loc[rows, metric], c=color, s=28, edgecolors="white", linewidths=0.5, zorder=3)
    if isinstance(dimension, Range) and dimension.log:
        axes.set_xscale("log")
    if metric == "normalized_cost":
        axes.axhline(1.0, color=INK, linestyle="--", linewidth=1.0)
    plain_axes(axes, "both")
