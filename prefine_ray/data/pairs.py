"""Pairs that people compared: a CSV file of better,worse, and from it the sides by Bradley-Terry scores."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from prefine_ray.data.judgement_files import (
    LabelFileError,
    check_trajectory,
    csv_columns,
    csv_rows,
    judgement_text,
    trajectory_number,
)
from prefine_ray.data.preferences import PreferenceSets

COLUMNS = ("better", "worse", "tie", "rater", "time")  # of a file that we write; the first two are needed
_TIES = {"": False, "0": False, "1": True}
_PRIOR = 0.1  # precision of the scores' normal prior, which keeps the score of one that always wins finite
_SHARE = 1 / 3  # of the compared trajectories on each side


@dataclass(frozen=True)
class Pairs:
    """K answers to "which of the two trajectories is better?"; the same two may come again, and otherwise."""

    better: NDArray[np.int64]  # [K]
    worse: NDArray[np.int64]  # [K]
    tie: NDArray[np.bool_]  # [K] equally good: the order of the two means nothing
    raters: tuple[str, ...]  # [K]; "" where the file does not say

    def __len__(self) -> int:
        return len(self.better)

    @property
    def compared(self) -> NDArray[np.int64]:
        """The trajectories that were compared, ascending."""
        return np.union1d(self.better, self.worse)

    def among(self, episodes: NDArray[np.int64]) -> Pairs:
        """The answers about two trajectories of `episodes`."""
        return self._where(np.isin(self.better, episodes) & np.isin(self.worse, episodes))

    def decided(self) -> Pairs:
        """The answers without ties."""
        return self._where(~self.tie)

    def _where(self, kept: NDArray[np.bool_]) -> Pairs:
        raters = tuple(self.raters[index] for index in np.flatnonzero(kept))
        return Pairs(self.better[kept], self.worse[kept], self.tie[kept], raters)


def has_pairs(text: str) -> bool:
    """Whether a CSV text has the columns of pairs."""
    return {"better", "worse"} <= {*csv_columns(text)}


def is_pair_file(path: Path) -> bool:
    """Whether a file of labels holds pairs. Raises LabelFileError where it cannot be read."""
    return path.suffix.lower() == ".csv" and has_pairs(judgement_text(path))


def read_pairs(path: str | Path, num_episodes: int) -> Pairs:
    """Reads the pairs of a data set of `num_episodes` trajectories, numbered from 0.

    The file is CSV with the columns better,worse; optional are tie (1: equally good) and rater. One line is one answer:
    contradictions and cycles are allowed, since people err.

    Raises:
        LabelFileError: no such file, another form, a number out of range, or a trajectory beside itself.
    """
    text = judgement_text(Path(path))
    try:
        return parse_pairs(text, num_episodes)
    except LabelFileError as error:
        raise LabelFileError(f"{path}: {error}") from None


def parse_pairs(text: str, num_episodes: int) -> Pairs:
    """The pairs in a CSV text; see `read_pairs`."""
    better, worse, ties, raters = list[int](), list[int](), list[bool](), list[str]()
    for where, row in csv_rows(text, COLUMNS[:2]):
        first, second = (trajectory_number(row[name], where) for name in COLUMNS[:2])
        for number in (first, second):
            check_trajectory(number, where, num_episodes)
        if first == second:
            raise LabelFileError(f"{where}: trajectory {first} is compared with itself; two are needed")
        if (tie := row.get("tie", "")) not in _TIES:
            raise LabelFileError(f"{where}: tie {tie!r}; it must be 1 (equally good), 0 or nothing")
        better.append(first)
        worse.append(second)
        ties.append(_TIES[tie])
        raters.append(row.get("rater", ""))
    first_side, second_side = (np.array(side, dtype=np.int64) for side in (better, worse))
    return Pairs(first_side, second_side, np.array(ties, dtype=np.bool_), tuple(raters))


def bradley_terry(pairs: Pairs) -> NDArray[np.float64]:
    """The log-strength of each of `pairs.compared`, [E], around 0: P(a better than b) = sigmoid(s_a - s_b).

    A tie is half a win for either. A normal prior keeps all scores finite, and those without a path of comparisons
    between them near 0, so that cycles, contradictions and separate groups have an answer, too.
    """
    from scipy.optimize import minimize  # slow to import, and every process of a sweep has this module
    from scipy.special import expit

    compared = pairs.compared
    better, worse = (np.searchsorted(compared, side) for side in (pairs.better, pairs.worse))
    won = np.where(pairs.tie, 0.5, 1.0)

    def loss(scores: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        gap = scores[better] - scores[worse]
        value = (np.logaddexp(0, gap) - won * gap).sum() + 0.5 * _PRIOR * (scores**2).sum()
        slope = expit(gap) - won
        gradient = np.bincount(better, slope, len(scores)) - np.bincount(worse, slope, len(scores))
        return float(value), gradient + _PRIOR * scores

    found = minimize(loss, np.zeros(len(compared)), jac=True, method="L-BFGS-B", options={"ftol": 1e-12, "gtol": 1e-8})
    return found.x - found.x.mean() if len(compared) else found.x


def crossed(sets: PreferenceSets) -> PreferenceSets:
    """Each preferred trajectory beside each dispreferred one: the k-th of the first side is the better one."""
    better = np.repeat(sets.preferred, len(sets.dispreferred))
    return PreferenceSets(better, np.tile(sets.dispreferred, len(sets.preferred)))


def sets_of_pairs(
    pairs: Pairs, num_preferred: int | None = None, num_dispreferred: int | None = None
) -> PreferenceSets:
    """The simple way from pairs to sides: the best and the worst by Bradley-Terry score.

    Args:
        pairs: any.
        num_preferred: how many of the best are preferred; None: a third of the compared ones, at least one.
        num_dispreferred: how many of the worst are dispreferred; None: likewise.

    Raises:
        LabelFileError: no pair says that one is better, or fewer trajectories were compared than are asked for.
    """
    compared = pairs.compared
    if not len(pairs.decided()):
        raise LabelFileError("no pair of which one is better; at least one answer that is no tie is needed")
    share = max(1, math.floor(_SHARE * len(compared)))
    best, worst = (share if number is None else number for number in (num_preferred, num_dispreferred))
    if best + worst > len(compared):
        raise LabelFileError(
            f"{len(compared)} trajectories were compared, too few for {best} preferred and {worst} dispreferred ones; "
            "ask for fewer, or compare more"
        )
    order = compared[np.argsort(-bradley_terry(pairs), kind="stable")]
    return PreferenceSets(np.sort(order[:best]), np.sort(order[len(order) - worst :]))
