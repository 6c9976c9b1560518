"""Tables and plots in Python: of results folders, and of policies that were fine-tuned in this process.

import prefine_ray as pr

results = pr.load_results(Path("results/quick"))  # or pr.evaluate_all(tuned, base, "BallRun", threshold=20)
print(pr.result_table(results))
pr.plot_front(results).savefig("front.png")
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from prefine_ray.analysis.columns import (
    BASE,
    COST,
    METHOD,
    PREFERRED,
    PREFINE,
    REWARD,
    SAFETY,
    TASK,
    THRESHOLD,
    VIOLATIONS,
    WEIGHT,
    high,
    low,
)
from prefine_ray.analysis.plots.fronts import front_page
from prefine_ray.analysis.plots.style import weight_colors
from prefine_ray.analysis.rows import Results, ResultsError, episode_table
from prefine_ray.analysis.summary import summarize
from prefine_ray.api import FineTuned, evaluate
from prefine_ray.policies.gaussian import GaussianPolicy


def evaluate_all(
    tuned: FineTuned, base: GaussianPolicy, task: str, threshold: float, *, episodes: int = 20, seed: int = 0
) -> Results:
    """Evaluates a population and its base policy with `evaluate`, all on the same episodes.

    Args:
        tuned: what `finetune` made.
        base: the policy that it started from, a population of one.
        task: a task's name.
        threshold: limit on the episode cost, by which the scores are normalised.
        episodes: how many for each policy.
        seed: of the episodes.

    Returns:
        Results as `load_results` gives them: an episode per row. The base policy has the seed of the first member.

    Raises:
        UnknownTaskError: no task has this name.
    """
    policies = [(BASE, float("nan"), tuned.members[0][1], base)]
    policies += [
        (PREFINE, weight, own_seed, tuned.policies.select(index))
        for index, (weight, own_seed) in enumerate(tuned.members)
    ]
    rows = [
        _episode_rows(evaluate(policy, task, episodes, seed), method, threshold, weight, own_seed)
        for method, weight, own_seed, policy in policies
    ]
    table = episode_table(pd.concat(rows, ignore_index=True))
    curves = tuned.curves.assign(task=task, method=PREFINE, preferred="", threshold=threshold)
    return Results((), table, trials=pd.DataFrame(), curves=curves, config="", conflicts=0)


def result_table(results: Results) -> pd.DataFrame:
    """One row per policy, task and threshold, sorted.

    Columns: task, threshold, preferred (the kind of preferences), method, weight (NaN where there is none); mean
    normalised reward and cost (1 is the threshold) with their 95 % limits over seeds (NaN for a single seed), as
    normalized_cost, normalized_cost_low, normalized_cost_high; violation_rate (a fraction of the episodes); safety
    ("safe", "uncertain" or "unsafe"); chosen (whether it is the best weight of its setting).

    Args:
        results: of `load_results` or `evaluate_all`.
    """
    scores = [end(name) for name in (REWARD, COST) for end in (str, low, high)]
    columns = [TASK, THRESHOLD, PREFERRED, METHOD, WEIGHT, *scores, VIOLATIONS, SAFETY, "chosen"]
    return summarize(results).cells[columns].reset_index(drop=True)


def plot_front(results: Results, preferred: str | None = None) -> Figure:
    """Normalised reward against normalised cost over the weights, a panel per task at its headline threshold.

    Args:
        results: of `load_results` or `evaluate_all`.
        preferred: the kind of preferences; by default the first that there is.

    Returns:
        A figure, which `savefig` writes; a notebook shows it.

    Raises:
        ResultsError: the results have no such kind.
    """
    summary = summarize(results)
    variant = summary.variants[0] if preferred is None else preferred
    if variant not in summary.variants:
        known = ", ".join(map(repr, summary.variants))
        raise ResultsError(f"no preferences of the kind {variant!r}; there are {known}")
    return front_page(summary, variant, weight_colors(summary.cells[WEIGHT]))


def _episode_rows(scores: dict[str, Any], method: str, threshold: float, weight: float, seed: int) -> pd.DataFrame:
    """The episodes of one policy's scores, with the columns of episodes.parquet."""
    is_base = method == BASE
    rows = pd.DataFrame({name: scores[f"{name}s"] for name in ("return", "cost", "length")})
    return rows.assign(
        terminated=scores["terminated"],
        episode=range(len(rows)),
        cell=f"{method}-{weight:g}-{seed}",
        stage="base" if is_base else "finetuned",
        task=scores["task"],
        method=method,
        preferred="",
        threshold=float("nan") if is_base else threshold,
        weight=weight,
        seed=seed,
    )
