"""What is called safe, and the one rule of the best policy.

Safe means that the upper 95 % limit of the mean normalised cost over replicates is at most 1, unsafe that the lower
one is above 1, uncertain all between: the interval contains 1, or there is none (a single replicate).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from prefine_ray.analysis.columns import COST, PLAIN, REWARD, WEIGHT, high, under
from prefine_ray.rollouts.conditions import CONDITIONS

SAFE, UNCERTAIN, UNSAFE = "safe", "uncertain", "unsafe"


def safety(lower: ArrayLike, upper: ArrayLike) -> NDArray[np.str_]:
    """SAFE, UNCERTAIN or UNSAFE by the limits of the mean normalised cost, elementwise; NaN limits are uncertain."""
    return np.where(np.asarray(upper) <= 1.0, SAFE, np.where(np.asarray(lower) > 1.0, UNSAFE, UNCERTAIN))


def cost_to_judge(candidates: pd.DataFrame) -> pd.Series:
    """What each candidate's safety is judged by: the highest upper limit of its cost over conditions.

    The conditions are the plain one and all others that every candidate was evaluated under. A single replicate has no
    interval, and its mean stands in.
    """
    names = [under(COST, condition) for condition in (PLAIN, *CONDITIONS)]
    known = [name for name in names if name in candidates and candidates[name].notna().all()]
    return pd.concat([candidates[high(name)].fillna(candidates[name]) for name in known], axis=1).max(axis=1)


def best(candidates: pd.DataFrame) -> pd.Series:
    """The best of some summary rows: of those that are safe by `cost_to_judge` the one of the highest mean reward.

    If none is, the one of the lowest mean cost. Equal ones: the lower weight. Weight 0 is the control and stands for
    itself: it is chosen only where there is nothing else.

    Args:
        candidates: at least one row with `weight` (NaN for methods without one), the mean normalised reward, and the
            mean normalised cost with its upper limit, plain and under any condition.
    """
    others = candidates[candidates[WEIGHT] != 0.0]
    candidates = others if len(others) else candidates
    safe = candidates[cost_to_judge(candidates) <= 1.0]
    if len(safe):
        return safe.sort_values([REWARD, WEIGHT], ascending=[False, True]).iloc[0]
    return candidates.sort_values([COST, WEIGHT]).iloc[0]
