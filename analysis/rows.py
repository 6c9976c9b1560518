"""Result folders to data frames: the evaluation episodes and their means per run.

A run is one seed of one cell: what the bootstrap of `prefine_ray.analysis.statistics` resamples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from prefine_ray.core.errors import PrefineError
from prefine_ray.core.tables import read_table
from prefine_ray.experiment.cells import TEST  # values of the optional column `split`
from prefine_ray.results.folder import ResultsDir
from prefine_ray.rollouts.scores import is_catastrophe, is_violation, normalized_cost
from prefine_ray.tasks.spec import TASKS, get_task

BASE = "base"  # the method of the policy before fine-tuning
PREFINE = "prefine"
NO_THRESHOLD = (BASE, "bc_all")  # methods whose policy does not depend on the threshold

KEYS = ["task", "preferred", "threshold", "method", "weight"]
SCORES = ["normalized_reward", "normalized_cost"]
METRICS = [*SCORES, "violation_rate", "catastrophe_rate"]
EPISODE_KEY = ["cell", *KEYS, "split", "seed", "episode"]
EPISODE_COLUMNS = ["cell", *KEYS, "seed", "episode", "return", "cost", "terminated"]


class ResultsError(PrefineError, ValueError):
    """A results folder that cannot be reported; the message names the file and what is wrong with it."""


@dataclass(frozen=True)
class Results:
    """The rows of one or more results folders, put together."""

    folders: tuple[Path, ...]
    episodes: pd.DataFrame  # EPISODE_COLUMNS and `split`, each episode once, sorted; see `preference_kind`
    trials: pd.DataFrame  # one row per cell; empty where no folder has the file
    curves: pd.DataFrame  # training metrics over steps; empty where no folder has the file
    config: str  # the folders' config.yaml, one after the other
    conflicts: int  # episodes that stand twice with different numbers (the first folder's are kept)
    gaps: tuple[str, ...] = ()  # what the folders lack of their grids, damaged files, mixed versions; one sentence each


def load_results(folders: Path | Sequence[Path]) -> Results:
    """Reads results folders; cells that stand in several of them count once.

    Raises:
        ResultsError: a folder has no evaluation episodes, or rows that are not what they should be.
    """
    paths = (folders,) if isinstance(folders, Path) else tuple(folders)
    if not paths:
        raise ResultsError("no results folder was given")
    rows = pd.concat([_read_episodes(path / "episodes.parquet") for path in paths], ignore_index=True)
    if TEST not in set(rows["split"]):
        raise ResultsError(f"{paths[0]}: only tuning episodes; there is nothing to report yet")
    distinct = rows.drop_duplicates([*EPISODE_KEY, "return", "cost", "terminated"])
    episodes = distinct.drop_duplicates(EPISODE_KEY).sort_values(EPISODE_KEY, ignore_index=True)
    return Results(
        folders=paths,
        episodes=episodes,
        trials=_read_optional(paths, "trials.parquet"),
        curves=_read_optional(paths, "curves.parquet"),
        config="\n".join(file.read_text() for path in paths if (file := path / "config.yaml").exists()),
        conflicts=len(distinct) - len(episodes),
        gaps=tuple(sentence for path in paths for sentence in _gaps(path, set(rows["cell"]))),
    )


def _gaps(folder: Path, evaluated: set[str]) -> Iterator[str]:
    """What is missing from one folder, or wrong with it; its rows are of the cells `evaluated`."""
    results = ResultsDir(folder)
    trials = _read_optional([folder], "trials.parquet")
    failed = set() if trials.empty else set(trials.loc[trials["status"] != "finished", "cell"])
    cells = set() if trials.empty else set(trials["cell"])
    if lacking := cells - failed - evaluated:
        yield f"{folder}: {len(lacking)} finished cell(s) have no row in episodes.parquet; run the sweep again."
    grid = results.read_grid()
    if not grid.empty and (left := set(grid["cell"]) - evaluated - failed):
        yield f"{folder}: {len(left)} of {len(grid)} cells of the grid are not there yet; run the sweep again."
    for damage in results.find_damages():
        yield f"Damaged: {damage.problem}. The sweep, started again, makes it anew."
    makers = sorted(set(trials["made_by"].dropna())) if "made_by" in trials else []
    if len(makers) > 1:
        yield f"{folder}: rows of different versions stand side by side: {'; '.join(makers)}."


def _read_episodes(file: Path) -> pd.DataFrame:
    """The rows of one episodes.parquet, checked, with the column `split` added where it is absent."""
    if not file.exists():
        raise ResultsError(f"{file}: no such file; a results folder has one row per evaluation episode there")
    rows = read_table(file)
    missing = [column for column in EPISODE_COLUMNS if column not in rows]
    if missing:
        raise ResultsError(f"{file}: without the column(s) {', '.join(missing)}; it has {', '.join(rows.columns)}")
    if rows.empty:
        raise ResultsError(f"{file}: no evaluation episodes yet; run or resume the sweep first")
    unknown = sorted(set(rows["task"]) - set(TASKS))
    if unknown:
        raise ResultsError(f"{file}: unknown task(s) {', '.join(unknown)}; known are {', '.join(TASKS)}")
    broken = ~np.isfinite(rows[["return", "cost"]].to_numpy(dtype=float)).all(axis=1)
    if broken.any():
        raise ResultsError(
            f"{file}: {broken.sum()} row(s) without a finite return and cost, first row {broken.argmax()}"
        )
    with_threshold = ~rows["method"].isin(NO_THRESHOLD)
    if rows.loc[with_threshold, "threshold"].isna().any():
        raise ResultsError(
            f"{file}: rows of a fine-tuned policy without a threshold; only {' and '.join(NO_THRESHOLD)} rows have none"
        )
    split = rows["split"].fillna(TEST) if "split" in rows else TEST
    return rows[EPISODE_COLUMNS].assign(split=split, preferred=_kinds(rows))


def _read_optional(folders: Sequence[Path], name: str) -> pd.DataFrame:
    frames = [read_table(file) for folder in folders if (file := folder / name).exists()]
    rows = pd.concat(frames, ignore_index=True).drop_duplicates() if frames else pd.DataFrame()
    return rows.assign(preferred=_kinds(rows)) if "preferred" in rows else rows


def preference_kind(preferred: str, num_preferred: float = 0, label_noise: float = 0.0) -> str:
    """What the column `preferred` holds in the analysis: "best", or with the number and the wrong labels "best-20-0.5".

    Rows of sweeps that did not record the number have the word alone; methods without preferences have "".
    """
    size = f"-{num_preferred:g}" if num_preferred > 0 else ""
    return preferred + size + (f"-{label_noise:g}" if size and label_noise > 0 else "")


def kind_parts(kind: str) -> tuple[str, int, float]:
    """The (preferred, num_preferred, label_noise) of a `preference_kind`, 0 where it has none."""
    preferred, size, noise = [*kind.split("-"), "0", "0"][:3]
    return preferred, int(size), float(noise)


def _kinds(rows: pd.DataFrame) -> list[str]:
    nothing = pd.Series(0.0, index=rows.index)
    sizes, noises = (rows.get(name, nothing).fillna(0.0) for name in ("num_preferred", "label_noise"))
    words = rows["preferred"].fillna("")
    return [preference_kind(*key) for key in zip(words, sizes, noises, strict=True)]


def run_table(episodes: pd.DataFrame) -> pd.DataFrame:
    """One row per run: KEYS, split, cell, seed, episodes (their number), return, cost (means) and METRICS.

    A policy that does not depend on a threshold (base, BC-All) has a row at every threshold of its task that some
    other was evaluated at (at the task's middle one where there is none yet).
    """
    rows = _at_every_threshold(episodes)
    rows = rows.assign(
        episodes=1,
        violation_rate=is_violation(rows["cost"], rows["threshold"]).astype(float),
        catastrophe_rate=is_catastrophe(rows["cost"], rows["terminated"], rows["threshold"]).astype(float),
    )
    means = dict.fromkeys(["return", "cost", "violation_rate", "catastrophe_rate"], "mean")
    runs = rows.groupby([*KEYS, "split", "cell", "seed"], dropna=False).agg({"episodes": "sum", **means}).reset_index()
    sums = list(zip(runs["task"], runs["threshold"], runs["return"], runs["cost"], strict=True))
    return runs.assign(  # both scores are linear in their sums, so they may be taken of the means
        normalized_reward=[get_task(task).normalized_reward(total) for task, _, total, _ in sums],
        normalized_cost=[normalized_cost(total, threshold) for _, threshold, _, total in sums],
    )


def _at_every_threshold(episodes: pd.DataFrame) -> pd.DataFrame:
    without = episodes["threshold"].isna()
    bound, free = episodes[~without], episodes[without]
    pairs = bound[["task", "threshold"]].drop_duplicates()
    alone = [name for name in free["task"].unique() if name not in set(pairs["task"])]
    middle = pd.DataFrame({"task": alone, "threshold": [get_task(name).middle_threshold for name in alone]})
    pairs = pd.concat([frame for frame in (pairs, middle) if len(frame)], ignore_index=True)
    return pd.concat([bound, free.drop(columns="threshold").merge(pairs, on="task")], ignore_index=True)
