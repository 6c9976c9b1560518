"""One episode of each task's base policy and of its picked policy, from the same start, for the report page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from prefine_ray.analysis.columns import METHOD, PREFERRED, PREFINE, TASK, THRESHOLD, WEIGHT
from prefine_ray.analysis.rows import Results
from prefine_ray.analysis.summary import Summary
from prefine_ray.analysis.tables.headline import headline_rows
from prefine_ray.analysis.thresholds import task_order
from prefine_ray.experiment.cells import TEST
from prefine_ray.experiment.config import CLONED_BASES
from prefine_ray.methods.base import base_policy
from prefine_ray.policies.files import load_policy
from prefine_ray.results.folder import ResultsDir
from prefine_ray.rollouts.evaluation import evaluation_seeds
from prefine_ray.rollouts.video import render_episode
from prefine_ray.tasks.spec import Task, get_task

_WIDTH, _FRAMES = 300, 60
_KEYS = [METHOD, TASK, PREFERRED, THRESHOLD, WEIGHT]


@dataclass(frozen=True)
class Clip:
    """One episode, drawn."""

    task: str
    policy: str  # "base policy", or what was picked
    path: Path


@dataclass(frozen=True)
class _Shown:
    """A policy whose first evaluation episode is drawn."""

    task: Task
    words: str
    policy: Path
    clip: Path
    seed: int  # reset seed
    threshold: float


def clips(results: Results, summary: Summary, folder: Path, make: bool = False) -> list[Clip]:
    """The clips in a folder, a task's base policy before its picked one.

    Those are shown whose policy files are at hand; a base policy that was cloned is not, since it lies with the data.

    Args:
        results: of the first of its folders.
        summary: of these.
        folder: where the clips lie.
        make: draws those that are missing; else only what is there is shown.
    """
    shown = list(_shown(results, summary, folder))
    if make:
        for one in tqdm([one for one in shown if not one.clip.exists()], "clips", unit="clip"):
            policy = load_policy(one.policy)
            render_episode(policy, one.task, one.clip, one.seed, one.threshold, width=_WIDTH, most_frames=_FRAMES)
    return [Clip(one.task.name, one.words, one.clip) for one in shown if one.clip.exists()]


def _shown(results: Results, summary: Summary, place: Path) -> Iterator[_Shown]:
    """The policies of the first kind of preferences, on the first evaluation episode of their first seed."""
    folder = ResultsDir(results.folders[0])
    config = folder.saved_config() if folder.config_path.exists() else {}
    for name in task_order(summary.cells[TASK]):
        task, found = get_task(name), headline_rows(summary, summary.variants[0], name)
        if found["best"] is None or not task.has_environment:
            continue
        cell, seed = _first_cell(results.episodes, found["best"])
        start = int(evaluation_seeds(config.get("seed", 0), name, seed, 1)[0])
        picked = f"weight {found['best'][WEIGHT]:g}"
        base = str(config.get("base", "zoo"))
        files = [] if base in CLONED_BASES else [("base policy", base_policy(task, base), f"{name}-base")]
        files += [(picked, folder.policy_path(cell), cell)]
        for words, policy, stem in files:
            if policy.exists():
                clip = place / f"{stem}-{start}.webp"
                yield _Shown(task, words, policy, clip, start, found["threshold"])


def _first_cell(episodes: pd.DataFrame, picked: pd.Series) -> tuple[str, int]:
    """The cell of a picked setting's lowest seed, and this seed."""
    assert picked[METHOD] == PREFINE
    same = (episodes[_KEYS] == picked[_KEYS]).all(axis=1) & (episodes["split"] == TEST)
    first = episodes[same].sort_values("seed").iloc[0]
    return str(first["cell"]), int(first["seed"])
