"""The columns that rows, summaries, tables and plots share, and the names that are put together from them."""

from __future__ import annotations

from prefine_ray.rollouts import scores

REWARD, COST, VIOLATIONS, CATASTROPHES = METRICS = list(scores.SCORES)
SCORES = [REWARD, COST]

TASK, PREFERRED, THRESHOLD, METHOD, WEIGHT = KEYS = ["task", "preferred", "threshold", "method", "weight"]
SETTING = [TASK, PREFERRED, THRESHOLD]  # what a weight is chosen for
REPLICATE = "replicate"  # what intervals are over: everything that could have come out otherwise; the seed by default
DRAWS, OWN_BASE = COVERAGE = ["draws", "own_base"]  # what of a replicate is its own
CONDITION = "condition"  # how a policy was evaluated: PLAIN or one of `prefine_ray.rollouts.conditions.CONDITIONS`
PLAIN = ""
SAFETY = "safety"

BASE, PREFINE, SFT = "base", "prefine", "sft"  # methods; base is the policy before fine-tuning
CONTROL_WEIGHT = 0.0  # supervised fine-tuning alone

LOWEST = {COST: 0.0, VIOLATIONS: 0.0, CATASTROPHES: 0.0}  # the values that a score can have
HIGHEST = {VIOLATIONS: 1.0, CATASTROPHES: 1.0}


def low(name: str) -> str:
    """The lower 95 % limit of a column."""
    return f"{name}_low"


def high(name: str) -> str:
    """The upper 95 % limit of a column."""
    return f"{name}_high"


def under(name: str, condition: str) -> str:
    """A score under a condition of evaluation; the score itself under PLAIN."""
    return f"{name}_{condition}" if condition else name
