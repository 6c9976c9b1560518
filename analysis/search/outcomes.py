"""What is on disk of a search's trials, and which of them are cut short at a rung."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from prefine_ray.analysis.search.score import problem_table, setting_score
from prefine_ray.experiment.search_trials import Rungs
from prefine_ray.results.folder import ResultsDir


@dataclass(frozen=True)
class Outcome:
    """What a trial has shown so far on the tuning episodes."""

    ended: bool  # it ran on all tasks, was cut short, or failed
    failed: bool = False
    tasks: int = 0  # on how many it has run
    score: float = math.nan  # over all tasks of the search (see `setting_score`); NaN where it failed or has not begun
    at_rungs: Mapping[int, float] = field(default_factory=dict)  # score over what there was at each rung
    problems: pd.DataFrame = field(default_factory=pd.DataFrame)  # see `problem_table`
    steps: int = 0  # gradient steps on the last task
    wall_s: float = 0.0  # of training
    error: str = ""  # why it failed


@dataclass(frozen=True)
class Parts:
    """Where the rows of a trial lie."""

    results: ResultsDir
    packs: Sequence[str]  # their names, one per task
    tasks: Sequence[str]


def read_outcome(parts: Parts, rungs: Rungs, needed: Mapping[int, float]) -> Outcome:
    """The outcome of a trial from its rows.

    Args:
        parts: where they lie.
        rungs: of the search.
        needed: the score that it needs at each rung to continue (see `cutoffs`).
    """
    trials, episodes, error = _read(parts)
    if not trials:
        return Outcome(ended=bool(error), failed=bool(error), error=error)
    problems = problem_table(pd.concat(episodes, ignore_index=True), pd.concat(trials, ignore_index=True))
    at_rungs, cut = step_scores(episodes[0], trials[0], rungs.steps), 0
    for rung in [rung for rung in rungs.tasks if rung <= len(trials)]:
        at_rungs[rung] = setting_score(problems, parts.tasks[:rung])
        if at_rungs[rung] < needed.get(rung, -math.inf):
            cut, error = rung, ""  # what came after does not count
            break
    done = cut or len(trials)
    problems = problems[problems["task"].isin(parts.tasks[:done])].reset_index(drop=True)
    return Outcome(
        ended=bool(cut or error) or done == len(parts.packs),
        failed=bool(error),
        tasks=done,
        score=math.nan if error else setting_score(problems, parts.tasks),
        at_rungs=at_rungs,
        problems=problems,
        steps=int(trials[done - 1]["steps"].iloc[0]),
        wall_s=sum(float(rows["wall_s"].sum()) for rows in trials[:done]),
        error=error,
    )


def _read(parts: Parts) -> tuple[list[pd.DataFrame], list[pd.DataFrame], str]:
    """The cells and the episodes of the tasks that have run, in their order, and why the next one failed, if it did."""
    trials: list[pd.DataFrame] = []
    episodes: list[pd.DataFrame] = []
    for name in parts.packs:
        rows = parts.results.read_part("trials", name)
        if rows.empty:
            break
        if (failed := rows[rows["status"] != "finished"]).size:
            return trials, episodes, str(failed.iloc[0]["error"]) or "failed"
        trials.append(rows)
        episodes.append(parts.results.read_part("episodes", name))
    return trials, episodes, ""


def step_scores(episodes: pd.DataFrame, trials: pd.DataFrame, steps: Collection[int]) -> dict[int, float]:
    """The score of one task's population at each of these gradient steps that it was looked at; NaN where it diverged.

    Args:
        episodes: rows of the tuning episodes of all looks, with `step`.
        trials: its cells, with their `reference` rewards.
        steps: gradient steps.
    """
    scores = {}
    for step in steps:
        seen = episodes[episodes["step"] == step] if "step" in episodes else episodes[:0]
        if seen["return"].isna().any():
            scores[step] = math.nan
        elif len(seen):
            problems = problem_table(seen.assign(stage="finetuned"), trials)
            scores[step] = setting_score(problems, [str(trials["task"].iloc[0])])
    return scores


def cutoffs(rungs: Rungs, reduction_factor: int, earlier: Sequence[Outcome]) -> dict[int, float]:
    """The score that a trial needs at each rung to continue, from the trials of earlier rounds.

    The rule of ASHA (Li et al., arXiv 1810.05934): of all that reached a rung, the top 1/eta continue. Here the others
    are those of earlier rounds, so that the decision does not depend on which trial was faster; the first round
    runs to the end.
    """
    needed = {}
    for rung in (*rungs.steps, *rungs.tasks):
        reached = [outcome.at_rungs[rung] for outcome in earlier if rung in outcome.at_rungs]
        if reached:
            needed[rung] = float(np.quantile(reached, 1 - 1 / reduction_factor))
    return needed


def stops(episodes: pd.DataFrame, trials: pd.DataFrame, needed: Mapping[int, float]) -> bool:
    """Whether the latest of one task's looks ends its training: it diverged, or is under what its rung needs."""
    if episodes.empty:
        return False
    step = int(episodes["step"].max())
    score = step_scores(episodes, trials, [step])[step]
    return math.isnan(score) or score < needed.get(step, -math.inf)
