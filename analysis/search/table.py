"""The trials of a hyperparameter search as tables: one row per trial, and one per trial and problem."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from prefine_ray.analysis.best import SAFE, UNCERTAIN
from prefine_ray.analysis.columns import METRICS, REWARD, SAFETY, TASK, high, low
from prefine_ray.analysis.rows import ResultsError
from prefine_ray.analysis.search.outcomes import Outcome, Parts, cutoffs, read_outcome
from prefine_ray.analysis.search.score import RELATIVE, safe_count, task_values
from prefine_ray.experiment.search_config import SearchConfig
from prefine_ray.experiment.search_trials import rungs, searched_values
from prefine_ray.results.folder import ResultsDir

FINISHED, STOPPED, FAILED, RUNNING = "finished", "stopped", "failed", "running"  # status; running: or interrupted


@dataclass(frozen=True)
class SearchTables:
    """What is on disk of a search."""

    trials: pd.DataFrame  # see `read_search`
    problems: pd.DataFrame  # number, and the columns of `problem_table`

    @property
    def best(self) -> pd.Series | None:
        """The chosen trial."""
        chosen = self.trials[self.trials["chosen"]]
        return chosen.iloc[0] if len(chosen) else None

    def of(self, number: int) -> pd.DataFrame:
        """The problems of one trial."""
        return self.problems[self.problems["number"] == number]


def read_search(results: ResultsDir, config: SearchConfig) -> SearchTables:
    """The trials that have begun, in the order of the suggestions.

    Columns of `trials`: number, the searched values by key, status, error, tasks (on how many it has run), steps
    (gradient steps done), wall_s, score, problems and safe (how many there are, and how many are shown to be safe),
    relative_reward (the mean over tasks), worst_task and worst_value, safety (safe where all problems are), chosen (the
    one of the highest score that ran on all tasks). For a search of a single problem also METRICS with `_low` and
    `_high` (95 % t intervals over seeds), its own safety, and front (no other finished trial has more reward at no more
    cost, or less cost at no less reward).

    Raises:
        ResultsError: no trial has begun.
    """
    rows, problems = [], []
    for number, (asked, outcome) in _outcomes(results, config).items():
        if outcome.tasks or outcome.failed:
            rows.append({"number": number, **asked, **_trial_row(outcome, config)})
            problems.append(outcome.problems.assign(number=number))
    if not rows:
        raise ResultsError(f"{results.root}: no trial has ended yet; run or resume the search first")
    trials = pd.DataFrame(rows)
    whole = trials[trials["status"] == FINISHED]
    trials["chosen"] = trials.index == whole["score"].idxmax() if len(whole) else False
    if REWARD in trials:
        front = whole.index[pareto_front(whole[REWARD], whole[METRICS[1]])]
        trials["front"] = trials.index.isin(front)
    return SearchTables(trials, pd.concat(problems, ignore_index=True))


def _outcomes(results: ResultsDir, config: SearchConfig) -> dict[int, tuple[dict[str, Any], Outcome]]:
    """The searched values and the outcome of each trial that was suggested, by number."""
    grid, found = results.read_grid(), dict[int, tuple[dict[str, Any], Outcome]]()
    if grid.empty:
        return found
    for number, cells in grid.groupby("number"):
        packs = dict(zip(cells[TASK], cells["pack"], strict=True))
        parts = Parts(results, [packs[task] for task in config.tasks if task in packs], config.tasks)
        first_of_round = int(str(number)) // config.search.round * config.search.round
        earlier = [outcome for n, (_, outcome) in found.items() if n < first_of_round and not outcome.failed]
        needed = cutoffs(rungs(config), config.search.reduction_factor, earlier)
        asked = searched_values(cells.iloc[0].to_dict())
        found[int(str(number))] = asked, read_outcome(parts, rungs(config), needed)
    return found


def _trial_row(outcome: Outcome, config: SearchConfig) -> dict[str, Any]:
    status = FAILED if outcome.failed else FINISHED if outcome.tasks == len(config.tasks) else STOPPED
    status = status if outcome.ended else RUNNING
    row: dict[str, Any] = {"status": status, "error": outcome.error, "tasks": outcome.tasks, "score": outcome.score}
    row |= {"steps": outcome.steps, "wall_s": outcome.wall_s, SAFETY: UNCERTAIN}
    problems = outcome.problems
    if outcome.failed or problems.empty:
        return row
    values, safe = task_values(problems), safe_count(problems)
    row |= {"problems": len(problems), "safe": safe, "worst_task": values.idxmin(), "worst_value": values.min()}
    row |= {RELATIVE: problems.groupby(TASK)[RELATIVE].mean().mean()}
    if len(problems) == len(config.tasks) == 1:
        only = problems.iloc[0]
        return (
            row
            | {end(metric): only[end(metric)] for metric in METRICS for end in (str, low, high)}
            | {SAFETY: only[SAFETY]}
        )
    return row | {SAFETY: SAFE if safe == len(problems) and status == FINISHED else UNCERTAIN}


def pareto_front(rewards: Sequence[float] | pd.Series, costs: Sequence[float] | pd.Series) -> list[bool]:
    """Which points no other point dominates: more reward at no more cost, or less cost at no less reward."""
    points = np.column_stack([np.asarray(rewards, dtype=float), -np.asarray(costs, dtype=float)])
    no_worse = np.all(points[:, None] >= points[None], axis=-1)  # [i, j]: i is no worse than j
    better = np.any(points[:, None] > points[None], axis=-1)
    return [not bool(dominated) for dominated in np.any(no_worse & better, axis=0)]
