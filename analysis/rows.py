"""Result folders to data frames: the evaluation episodes and their means per run.

A run is one replicate of one cell. By default a replicate is a seed; rows may carry a column `replicate` of their own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from prefine_ray.analysis.columns import BASE, CONDITION, DRAWS, KEYS, METRICS, OWN_BASE, PLAIN, PREFINE, REPLICATE
from prefine_ray.core.errors import PrefineError
from prefine_ray.core.tables import read_table
from prefine_ray.experiment.axes import axes
from prefine_ray.experiment.cells import TEST  # values of the optional column `split`
from prefine_ray.methods.registry import methods
from prefine_ray.results.folder import ResultsDir
from prefine_ray.results.own_tasks import add_stored_tasks
from prefine_ray.rollouts.scores import score_table
from prefine_ray.tasks.spec import TASKS, get_task


def without_threshold() -> tuple[str, ...]:
    """The methods whose policy does not depend on the threshold, and the base policy."""
    return (BASE, *(name for name, method in methods().items() if "threshold" not in method.axes))


EPISODE_KEY = ["cell", *KEYS, "split", CONDITION, "seed", "episode"]
EPISODE_COLUMNS = ["cell", *KEYS, "seed", "episode", "return", "cost", "terminated"]
_AND = "~"  # between the parts of a kind's name and the label of further axes
_STAGE = re.compile(r"^(?:base|finetuned)(?:-(?P<condition>\w+))?$")


class ResultsError(PrefineError, ValueError):
    """A results folder that cannot be reported; the message names the file and what is wrong with it."""


@dataclass(frozen=True)
class Coverage:
    """What of a replicate (a seed) is its own, and so what intervals over replicates cover."""

    draws: str = "shared"  # of the data: own, overlapping or shared, as `data.draws`
    own_base: bool = False


@dataclass(frozen=True)
class Results:
    """The rows of one or more results folders, put together."""

    folders: tuple[Path, ...]
    episodes: pd.DataFrame  # see `episode_table`; each episode once, sorted
    trials: pd.DataFrame  # one row per cell; empty where no folder has the file
    curves: pd.DataFrame  # training metrics over steps; empty where no folder has the file
    config: str  # the folders' config.yaml, one after the other
    conflicts: int  # episodes that stand twice with different numbers (the first folder's are kept)
    gaps: tuple[str, ...] = ()  # what the folders lack of their grids, damaged files, mixed versions; one sentence each

    @property
    def coverage(self) -> Coverage:
        """What of a replicate is its own, in every row."""
        draws = set(self.episodes[DRAWS])
        return Coverage(draws.pop() if len(draws) == 1 else "shared", bool(self.episodes[OWN_BASE].all()))


def load_results(folders: str | Path | Sequence[str | Path]) -> Results:
    """Reads results folders, also of a sweep that runs; cells that stand in several of them count once.

    Raises:
        ResultsError: a folder has no evaluation episodes, or rows that are not what they should be.
        OwnTaskError: two folders define an own task in different ways.
    """
    paths = tuple(map(Path, (folders,) if isinstance(folders, str | Path) else folders))
    if not paths:
        raise ResultsError("no results folder was given")
    for path in paths:
        add_stored_tasks(ResultsDir(path))
        ResultsDir(path).merge_new()
    rows = _together([_read_episodes(ResultsDir(path).merged_path("episodes")) for path in paths])
    if TEST not in set(rows["split"].unique()):
        raise ResultsError(f"{paths[0]}: only tuning episodes; there is nothing to report yet")
    trials = _read_optional(paths, "trials")
    gaps = [sentence for path in paths for sentence in _gaps(path, set(rows["cell"].unique()))]
    if versions := _mixed_versions(trials):  # of one folder, or of several
        gaps.append(f"Rows come from different versions: {'; '.join(versions)}.")
    conflicts = 0
    if (again := rows.duplicated(EPISODE_KEY)).any():
        distinct = len(rows) - int(rows.duplicated([*EPISODE_KEY, "return", "cost", "terminated"]).sum())
        rows = rows[~again]
        conflicts = distinct - len(rows)
    return Results(
        folders=paths,
        episodes=rows.sort_values(EPISODE_KEY, ignore_index=True),
        trials=trials,
        curves=_read_optional(paths, "curves", categories=True),
        config="\n".join(file.read_text() for path in paths if (file := ResultsDir(path).config_path).exists()),
        conflicts=conflicts,
        gaps=tuple(gaps),
    )


def _gaps(folder: Path, evaluated: set[str]) -> Iterator[str]:
    """What is missing from one folder, or wrong with it; its rows are of the cells `evaluated`."""
    results = ResultsDir(folder)
    trials = _read_optional([folder], "trials")
    failed = set() if trials.empty else set(trials.loc[trials["status"] != "finished", "cell"])
    evaluated = evaluated | _not_to_evaluate(trials)
    cells = set() if trials.empty else set(trials["cell"])
    if lacking := cells - failed - evaluated:
        yield f"{folder}: {len(lacking)} finished cell(s) have no row in episodes.parquet; resume the sweep."
    grid = results.read_grid()
    if not grid.empty and (left := set(grid["cell"]) - evaluated - failed):
        yield f"{folder}: {len(left)} of {len(grid)} cells of the grid are missing; resume the sweep."
    if waiting := results.tasks_without_cells():
        yield f"{folder}: no cells yet of {', '.join(waiting)}; resume the sweep."
    for damage in results.find_damages():
        yield f"Damaged: {damage.problem}. Run the sweep again to rebuild it."


def _not_to_evaluate(trials: pd.DataFrame) -> set[str]:
    """The cells of tasks without an environment."""
    return {
        cell
        for cell, task in (() if trials.empty else zip(trials["cell"], trials["task"], strict=True))
        if not get_task(task).has_environment
    }


def _mixed_versions(trials: pd.DataFrame) -> list[str]:
    """The commits, and the versions of an engine, where rows are of several."""
    commits, engines = (sorted(set(trials[name].dropna())) if name in trials else [] for name in ("commit", "physics"))
    by_engine: dict[str, list[str]] = {}
    for engine in engines:
        by_engine.setdefault(engine.partition(" ")[0], []).append(engine)
    return [version for versions in (commits, *by_engine.values()) if len(versions) > 1 for version in versions]


def _read_episodes(file: Path) -> pd.DataFrame:
    """The rows of one episodes.parquet, checked, with the column `split` added where it is absent."""
    if not file.exists():
        raise ResultsError(
            f"{file}: no such file; a results folder has one row per evaluation episode there, from the first cells"
            " that end (`prefine status` tells how far a sweep is)"
        )
    rows = read_table(file, categories=True)
    missing = [column for column in EPISODE_COLUMNS if column not in rows]
    if missing:
        raise ResultsError(f"{file}: without the column(s) {', '.join(missing)}; it has {', '.join(rows.columns)}")
    if rows.empty:
        raise ResultsError(f"{file}: no evaluation episodes yet; run or resume the sweep first")
    unknown = sorted(set(rows["task"].unique()) - set(TASKS))
    if unknown:
        raise ResultsError(f"{file}: unknown task(s) {', '.join(unknown)}; known are {', '.join(TASKS)}")
    broken = ~np.isfinite(rows[["return", "cost"]].to_numpy(dtype=float)).all(axis=1)
    if broken.any():
        raise ResultsError(
            f"{file}: {broken.sum()} row(s) without a finite return and cost, first row {broken.argmax()}"
        )
    with_threshold = ~rows["method"].isin(without_threshold())
    if rows.loc[with_threshold, "threshold"].isna().any():
        raise ResultsError(
            f"{file}: rows of a fine-tuned policy without a threshold; only those of {', '.join(without_threshold())} "
            "have none"
        )
    return episode_table(rows)


def episode_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of episodes.parquet as the analysis reads them: final policies only, absent columns filled in.

    Columns: EPISODE_COLUMNS with `preferred` as `preference_kind` has it; split; condition, from the stage: PLAIN for
    "base" and "finetuned", "reused" for "finetuned-reused"; replicate (the seed by default); draws (shared); own_base
    (False). Texts are categories. Rows of other stages, such as a search's rungs, are left out.
    """
    rows = rows.reset_index(drop=True)
    stages = rows["stage"] if "stage" in rows else pd.Series("finetuned", index=rows.index)
    conditions = {s: found["condition"] or PLAIN for s in stages.unique() if (found := _STAGE.match(str(s)))}
    is_listed = stages.isin(list(conditions))
    listed = rows[is_listed]
    return listed[EPISODE_COLUMNS].assign(
        cell=listed["cell"].astype("category"),
        task=listed["task"].astype("category"),
        method=_methods(listed),
        preferred=_kinds(listed),
        split=_filled(listed, "split", TEST),
        replicate=listed[REPLICATE] if REPLICATE in listed else listed["seed"],
        draws=_filled(listed, DRAWS, "shared"),
        own_base=listed[OWN_BASE].fillna(False).astype(bool) if OWN_BASE in listed else False,
        condition=stages[is_listed].astype(object).map(conditions).astype("category"),
    )


def _filled(rows: pd.DataFrame, name: str, default: str) -> pd.Series:
    """A column of texts, the default where it is absent or empty."""
    known = rows[name].astype(object).fillna(default) if name in rows else pd.Series(default, index=rows.index)
    return known.astype("category")


def _together(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The rows of several folders, texts as categories."""
    if len(frames) == 1:
        return frames[0]
    rows = pd.concat(frames, ignore_index=True)  # texts, where the folders' categories differ
    texts = {name for frame in frames for name in frame.select_dtypes("category")}
    return rows.astype(dict.fromkeys(texts, "category"))


def _read_optional(folders: Sequence[Path], kind: str, categories: bool = False) -> pd.DataFrame:
    files = [file for folder in folders if (file := ResultsDir(folder).merged_path(kind)).exists()]
    frames = [read_table(file, categories=categories) for file in files]
    rows = _together(frames) if frames else pd.DataFrame()
    rows = rows.drop_duplicates() if len(frames) > 1 else rows  # the rows of one folder are distinct
    return rows.assign(preferred=_kinds(rows)) if "preferred" in rows else rows


def preference_kind(preferred: str, num_preferred: float = 0, label_noise: float = 0.0, further: str = "") -> str:
    """What the column `preferred` holds in the analysis: "best", or with the number and the wrong labels "best-20-0.5".

    Rows of sweeps that did not record the number have the word alone; methods without preferences have "". `further`
    is a label of the values of other axes, where the rows hold several of them.
    """
    size = f"-{num_preferred:g}" if num_preferred > 0 else ""
    noise = f"-{label_noise:g}" if size and label_noise > 0 else ""
    return preferred + size + noise + (f"{_AND}{further}" if further else "")


def kind_parts(kind: str) -> tuple[str, int, float]:
    """The (preferred, num_preferred, label_noise) of a `preference_kind`, 0 where it has none."""
    preferred, size, noise = [*kind.partition(_AND)[0].split("-"), "0", "0"][:3]
    return preferred, int(size), float(noise)


def further_text(kind: str) -> str:
    """The label of the further axes' values of a `preference_kind`, "" where it has none."""
    return kind.partition(_AND)[2]


def _kinds(rows: pd.DataFrame) -> pd.Categorical:
    return _labelled(rows, _distinct_kinds)


def _distinct_kinds(rows: pd.DataFrame) -> list[str]:
    nothing = pd.Series(0.0, index=rows.index)
    sizes, noises = (rows.get(name, nothing).fillna(0.0) for name in ("num_preferred", "label_noise"))
    words = rows["preferred"].fillna("")
    further = [text if method == PREFINE else "" for text, method in zip(_further(rows), rows["method"], strict=True)]
    return [preference_kind(*key) for key in zip(words, sizes, noises, further, strict=True)]


def _labelled(rows: pd.DataFrame, label: Callable[[pd.DataFrame], list[str]]) -> pd.Categorical:
    """A text for each row, which is made once for each combination of method and axes (but threshold and weight)."""
    names = [name for name in dict.fromkeys(("method", "preferred", *axes())) if name in rows]
    names = [name for name in names if name not in ("threshold", "weight")]
    numbers = rows.groupby(names, dropna=False, observed=True, sort=False).ngroup().to_numpy()
    _, first = np.unique(numbers, return_index=True)
    distinct = pd.DataFrame({name: _without_categories(rows[name].iloc[first]) for name in names})
    return pd.Categorical(label(distinct)).take(numbers)


def _without_categories(column: pd.Series) -> pd.Series:
    return column.astype(object) if isinstance(column.dtype, pd.CategoricalDtype) else column


def same_kind(kind: str) -> list[str]:
    """The kinds that a method without the further axes has beside PREFINE's of this kind."""
    return [kind, kind.partition(_AND)[0], ""]


def method_parts(method: str) -> tuple[str, str]:
    """A method's name, and the label of its further axes' values, "" where it has none."""
    name, _, further = method.partition(_AND)
    return name, further


def _methods(rows: pd.DataFrame) -> pd.Categorical:
    """The methods; those that are compared carry the label of their further axes in their name."""
    return _labelled(rows, _distinct_methods)


def _distinct_methods(rows: pd.DataFrame) -> list[str]:
    return [
        f"{method}{_AND}{further}" if further and method != PREFINE else str(method)
        for method, further in zip(rows["method"], _further(rows), strict=True)
    ]


def _further(rows: pd.DataFrame) -> list[str]:
    """A label of each row's values of the axes that are neither columns of the analysis nor parts of a kind's name."""
    told = {"preferred", "num_preferred", "label_noise", *KEYS}
    varied = [
        axis
        for name, axis in axes().items()
        if name not in told and name in rows and rows.loc[rows[name] != axis.none, name].nunique() > 1
    ]
    columns = [[str(axis.label(value)) or str(value) for value in rows[axis.name]] for axis in varied]
    kept = [rows[axis.name] != axis.none for axis in varied]
    return [
        ", ".join(text for text, has in zip(texts, present, strict=True) if has)
        for texts, present in zip(zip(*columns, strict=True), zip(*kept, strict=True), strict=True)
    ] or [""] * len(rows)


def run_table(episodes: pd.DataFrame) -> pd.DataFrame:
    """One row per run and condition: KEYS, split, condition, cell, replicate, episodes, and means.

    The means are of return, cost and METRICS; `episodes` is their number. A policy that does not depend on a threshold
    (base, BC-All) has a row at every threshold of its task that some other was evaluated at (at the task's middle one
    where there is none yet).

    Args:
        episodes: see `episode_table`.
    """
    rows = score_table(_at_every_threshold(episodes)).assign(episodes=1)
    keys = [*KEYS, "split", CONDITION, "cell", REPLICATE]
    means = dict.fromkeys(["return", "cost", *METRICS], "mean")
    table = rows.groupby(keys, dropna=False, observed=True).agg({"episodes": "sum", **means}).reset_index()
    return table.astype(dict.fromkeys(table.select_dtypes("category"), object))


def _at_every_threshold(episodes: pd.DataFrame) -> pd.DataFrame:
    without = episodes["threshold"].isna()
    bound, free = episodes[~without], episodes[without]
    pairs = bound[["task", "threshold"]].drop_duplicates()
    alone = [name for name in free["task"].unique() if name not in set(pairs["task"])]
    middle = pd.DataFrame({"task": alone, "threshold": [get_task(name).middle_threshold for name in alone]})
    pairs = pd.concat([frame for frame in (pairs, middle) if len(frame)], ignore_index=True)
    return pd.concat([bound, free.drop(columns="threshold").merge(pairs, on="task")], ignore_index=True)
