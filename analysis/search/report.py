"""A hyperparameter search's rows to tables of trials and problems, plots, and the best setting as a config to paste."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from prefine_ray.analysis.columns import COST, PREFERRED, REWARD, SAFETY, TASK, THRESHOLD, VIOLATIONS, high, low
from prefine_ray.analysis.plots.search import front_plot, slice_plot, task_plot
from prefine_ray.analysis.plots.style import save_figure
from prefine_ray.analysis.search.score import RELATIVE, VALUE
from prefine_ray.analysis.search.table import FAILED, FINISHED, RUNNING, SearchTables, read_search
from prefine_ray.core.errors import last_line
from prefine_ray.core.files import write_text
from prefine_ray.experiment.search_config import SearchConfig
from prefine_ray.experiment.search_space import own_value, setting
from prefine_ray.results.folder import ResultsDir

_SCORE = (
    "Score: half the mean over tasks and half the worst task of what a setting is worth. A problem (task, preferred "
    "trajectories, threshold) that is shown to be safe is worth its reward, as a share of the best safe episode's "
    "in the data; any other is worth less than 0 (1 / upper limit of the cost - 1). "
)
_CHOSEN = "Chosen among many, it looks better here than it is: run it in a sweep for fresh data and episodes."


@dataclass(frozen=True)
class SearchPaths:
    """What `report_search` wrote."""

    markdown: Path
    csv: Path
    problems: Path
    plots: tuple[Path, ...]
    best: Path | None  # the YAML of the best setting; None where no trial ended well


def report_search(root: Path, config: SearchConfig) -> tuple[SearchPaths, str]:
    """Writes tables/{trials.md,trials.csv,problems.csv}, plots/search*.png and best.yaml; also returns the text.

    Raises:
        ResultsError: no trial has ended.
    """
    results = ResultsDir(root)
    tables = read_search(results, config)
    text = markdown(tables, config)
    paths = SearchPaths(
        results.tables_folder / "trials.md",
        results.tables_folder / "trials.csv",
        results.tables_folder / "problems.csv",
        _save_plots(tables, config, results.plots_folder),
        results.best_path if tables.best is not None else None,
    )
    write_text(paths.markdown, text)
    write_text(paths.csv, tables.trials.to_csv(index=False))
    write_text(paths.problems, tables.problems.to_csv(index=False))
    if paths.best:
        write_text(paths.best, best_snippet(tables, config))
    return paths, text


def _save_plots(tables: SearchTables, config: SearchConfig, folder: Path) -> tuple[Path, ...]:
    good = tables.trials[tables.trials["status"] == FINISHED]
    if good.empty:
        return ()
    if REWARD in good:
        first = front_plot(good, where(config), config.search.early_stopping is not None)
        slices = slice_plot(good, config, {REWARD: "normalised reward", COST: "normalised cost"})
    else:
        first = task_plot(tables.problems, tables.trials, config)
        slices = slice_plot(good, config, {"score": "score", RELATIVE: "relative reward"})
    save_figure(first, folder / "search.png", "")
    save_figure(slices, folder / "search_values.png", "")
    return folder / "search.png", folder / "search_values.png"


def where(config: SearchConfig) -> str:
    """The problems of a search in words."""
    if len(config.tasks) > 1:
        return f"{len(config.tasks)} tasks"
    limits = config.for_task(config.tasks[0]).axis_values("threshold", config.tasks[0])
    return f"{config.tasks[0]}, cost threshold {', '.join(f'{limit:g}' for limit in limits)}"


def markdown(tables: SearchTables, config: SearchConfig) -> str:
    """The trials from the best to the worst; of several problems, those of the best trial beside its rivals."""
    keys, single = list(config.search.space), REWARD in tables.trials
    names = ["steps", "reward", "cost", "violations"] if single else ["tasks", "safe", "relative reward", "worst task"]
    lines = [f"# {config.name}: {where(config)}", "", *_head(["trial", *keys, "score", *names, ""])]
    order = tables.trials.assign(_rank=tables.trials["status"].map({FINISHED: 0, FAILED: 2}).fillna(1))
    for _, row in order.sort_values(["_rank", "score", "number"], ascending=[True, False, True]).iterrows():
        cells = _single_cells(row) if single else _cells(row, config)
        lines.append(_line([str(int(row["number"])), *(_shown(row[key]) for key in keys), *cells]))
    lines += ["", best_line(tables, config) + ".", "", _caption(config, single)]
    if tables.best is not None and not single:
        lines += ["", "## The best setting, problem by problem", "", *_problem_lines(tables, config)]
    return "\n".join(lines) + "\n"


def _head(names: list[str]) -> list[str]:
    return [_line(names), f"|{'---|' * len(names)}"]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _single_cells(row: pd.Series) -> list[str]:
    """The scores of a trial on a single problem."""
    if row["status"] == FAILED:
        return ["", "", "", "", "", f"failed: {last_line(str(row['error']))}"]
    scores = [f"{row[name]:.2f} [{row[low(name)]:.2f}, {row[high(name)]:.2f}]" for name in (REWARD, COST)]
    marks = [row[SAFETY], *(["front"] if row["front"] else []), *(["**best**"] if row["chosen"] else [])]
    return [f"{row['score']:.3f}", str(int(row["steps"])), *scores, f"{row[VIOLATIONS]:.0%}", ", ".join(marks)]


def _cells(row: pd.Series, config: SearchConfig) -> list[str]:
    """The scores of a trial on several problems."""
    done = f"{int(row['tasks'])} of {len(config.tasks)}"
    if row["status"] == FAILED:
        return ["", done, "", "", "", f"failed: {last_line(str(row['error']))}"]
    safe, worst = f"{int(row['safe'])} of {int(row['problems'])}", f"{row['worst_task']} {row['worst_value']:.2f}"
    mark = "**best**" if row["chosen"] else "" if row["status"] == FINISHED else str(row["status"])
    return [f"{row['score']:.3f}", done, safe, f"{row[RELATIVE]:.2f}", worst, mark]


def _caption(config: SearchConfig, single: bool) -> str:
    seeds, episodes = len(config.tuning_seeds), config.evaluation.episodes
    text = f"{seeds} tuning seeds of {episodes} episodes, which no report uses; [95 % intervals over seeds]. "
    text += "Reward and cost are normalised; safe: the upper limit of the cost is at most 1, unsafe: the lower one is "
    text += f"above 1. {_SCORE}"
    if single:
        text += "front: no other trial has more reward at no more cost. "
    else:
        text += "A trial that was stopped counts -1 for each task that it was not run on. "
    return f"{text}**best**: the highest score of those that ran in full. {_CHOSEN}"


def _rivals(tables: SearchTables, config: SearchConfig) -> dict[str, int]:
    """What the best trial is compared with, by shown name: the next best one, and the start of the search."""
    best, whole = tables.best, tables.trials[tables.trials["status"] == FINISHED]
    if best is None:
        return {}
    others = whole[whole["number"] != best["number"]].sort_values("score", ascending=False, kind="stable")
    numbers = [int(number) for number in others["number"]]
    rivals = {f"next, trial {numbers[0]}": numbers[0]} if numbers else {}
    if config.search.start is not None and 0 in numbers[1:]:
        rivals["start, trial 0"] = 0
    return rivals


def _problem_lines(tables: SearchTables, config: SearchConfig) -> list[str]:
    """The table of the best trial's problems, with their value under its rivals."""
    assert tables.best is not None
    rivals = _rivals(tables, config)
    names = ["task", "preferred", "threshold", "reward", "cost", "", "relative reward", "value", *rivals]
    lines, keys = _head(names), [TASK, PREFERRED, THRESHOLD]
    values = {number: tables.of(number).set_index(keys)[VALUE] for number in rivals.values()}
    problems = tables.of(int(tables.best["number"]))
    order = problems[TASK].map({task: place for place, task in enumerate(config.tasks)})
    for _, row in problems.assign(_order=order).sort_values(["_order", PREFERRED, THRESHOLD]).iterrows():
        scores = [f"{row[name]:.2f} [{row[low(name)]:.2f}, {row[high(name)]:.2f}]" for name in (REWARD, COST)]
        key = tuple(row[name] for name in keys)
        of_rivals = [f"{values[number].get(key, float('nan')):.2f}" for number in rivals.values()]
        shown = [str(row[TASK]), str(row[PREFERRED]), f"{row[THRESHOLD]:g}", *scores, str(row[SAFETY])]
        lines.append(_line([*shown, f"{row[RELATIVE]:.2f}", f"{row[VALUE]:.2f}", *of_rivals]))
    return lines


def best_line(tables: SearchTables, config: SearchConfig) -> str:
    """The chosen trial, its score and by how much it is ahead, in words."""
    row = tables.best
    if row is None:
        return "no trial has ended well"
    scores = tables.trials.set_index("number")["score"]
    ahead = [f"{name} {scores[number]:.3f}" for name, number in _rivals(tables, config).items()]
    beside = f" ({'; '.join(ahead)})" if ahead else ""
    head = f"best trial: {int(row['number'])}, score {row['score']:.3f}{beside}"
    if REWARD in tables.trials:
        return f"{head}, normalised reward {row[REWARD]:.2f}, normalised cost {row[COST]:.2f}, {row[SAFETY]}"
    worst = f"worst task {row['worst_task']} at {row['worst_value']:.2f}"
    return f"{head}, {int(row['safe'])} of {int(row['problems'])} problems safe, {worst}"


def count_line(tables: SearchTables, config: SearchConfig) -> str:
    """How many trials have ended."""
    status = tables.trials["status"]
    ended, failed = int((status != RUNNING).sum()), int((status == FAILED).sum())
    return f"{ended} of {config.search.trials} trials have ended, {failed} failed"


def best_snippet(tables: SearchTables, config: SearchConfig) -> str:
    """The chosen setting as YAML: the sections that a sweep's configuration has of it, to paste there as they are."""
    row = tables.best
    assert row is not None
    values = {key: type(own_value(config, key))(row[key]) for key in config.search.space}
    if config.search.early_stopping == "asha":
        values["steps"] = int(row["steps"])
    found = setting(config, values)
    content = {
        "weights": [float(weight) for weight in found["weights"]],
        "selection": found["selection"].model_dump(mode="json"),
        "counterfactuals": found["counterfactuals"],
        "finetune": found["finetune"].model_dump(mode="json"),
    }
    head = f"# {config.name} on {where(config)}, tuning episodes:\n# {best_line(tables, config)}\n"
    return head + yaml.safe_dump(content, sort_keys=False)
