"""What is called safe, and the one rule of the best policy.

Safe means that the upper 95 % limit of the mean normalised cost over replicates is at most 1, unsafe that the lower
one is above 1, uncertain all between: the interval contains 1, or there is none (a single replicate).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from prefine_ray.analysis.columns import COST, PLAIN, REWARD, WEIGHT, high, under
from prefine_ray.rollouts.conditions import CONDITIONS

SAFE, UNCERTAIN, UNSAFE = "safe", "uncertain", "unsafe"
_ALL = "all"  # a column that puts all candidates into one group


def safety(lower: ArrayLike, upper: ArrayLike) -> NDArray[np.str_]:
    """SAFE, UNCERTAIN or UNSAFE by the limits of the mean normalised cost, elementwise; NaN limits are uncertain."""
    return np.where(np.asarray(upper) <= 1.0, SAFE, np.where(np.asarray(lower) > 1.0, UNSAFE, UNCERTAIN))


def cost_to_judge(candidates: pd.DataFrame, groups: ArrayLike = 0) -> pd.Series:
    """What each candidate's safety is judged by: the highest upper limit of its cost over conditions.

    The conditions are the plain one and all others that every candidate of its group was evaluated under. A single
    replicate has no interval, and its mean stands in.

    Args:
        candidates: summary rows.
        groups: [N] the number of each candidate's group; all are of one by default.
    """
    codes = np.broadcast_to(np.asarray(groups), len(candidates))
    judged = []
    for name in (under(COST, condition) for condition in (PLAIN, *CONDITIONS)):
        if name in candidates:
            known = candidates[name].notna().groupby(codes).transform("all")
            judged.append(candidates[high(name)].fillna(candidates[name]).where(known))
    return pd.concat(judged, axis=1).max(axis=1)


def best(candidates: pd.DataFrame) -> pd.Series:
    """The best of some summary rows, at least one; see `best_of_each`."""
    return best_of_each(candidates.assign(**{_ALL: 0}), [_ALL]).drop(columns=_ALL).iloc[0]


def best_of_each(candidates: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """The best row of every group: of those that are safe by `cost_to_judge` the one of the highest mean reward.

    If none is, the one of the lowest mean cost. Equal ones: the lower weight. Weight 0 is the control and stands for
    itself: it is chosen only where there is nothing else.

    Args:
        candidates: summary rows with `weight` (NaN for methods without one), the mean normalised reward, and the mean
            normalised cost with its upper limit, plain and under any condition.
        by: the columns that tell groups apart.

    Returns:
        One row per group, in the order of its first candidate.
    """
    rows = candidates.reset_index(drop=True)
    groups = rows.groupby(list(by), dropna=False, sort=False).ngroup()
    is_other = rows[WEIGHT] != 0.0
    kept = is_other | ~is_other.groupby(groups).transform("any")
    rows, groups = rows[kept], groups[kept]
    is_safe = cost_to_judge(rows, groups.to_numpy()) <= 1.0
    value = rows[COST].where(~is_safe, -rows[REWARD])  # the lower the better
    order = pd.DataFrame({"group": groups, "unsafe": ~is_safe, "value": value, "weight": rows[WEIGHT]})
    first = order.sort_values(["group", "unsafe", "value", "weight"]).drop_duplicates("group").index
    return rows.loc[first].reset_index(drop=True)
