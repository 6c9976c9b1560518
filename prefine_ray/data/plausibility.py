"""What the numbers of a data file tell of how it was made: costs that were summed up, end flags in wrong rows.

What cannot be right is an error. What is odd but stands in files that people use is a doubt, which is told and no more.
The published DSRL files are among these: the collector that made them (FSRL 0.1) writes the last observation of an
episode as the first one of the next, so that in them ends lead to the next row as every other step does.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_TOLERANCE = 1e-3  # of two observations that may have gone through another precision
_MOST = 0.8  # the share of ends that stand in the same wrong place where flags are shifted


class ImpossibleDataError(ValueError):
    """Data that cannot be what they are taken for; the message says why, without the name of the file."""


def cost_doubt(costs: NDArray[np.float32], starts: NDArray[np.int64]) -> str | None:
    """What is odd about the costs [T] of episodes that begin in the rows `starts` [E]; None if nothing is.

    Raises:
        ImpossibleDataError: a negative cost, or counts of violations summed up over each episode.
    """
    if (costs < 0).any():
        row = int(np.argmax(costs < 0))
        raise ImpossibleDataError(f"has {costs[row]} in row {row}; a step costs 0 or more")
    rises = np.diff(costs, prepend=costs[:1])
    rises[starts] = costs[starts]
    if (rises < 0).any() or (np.maximum.reduceat(costs, starts) > 1).sum() < 2:
        return None
    if np.isin(rises, (0, 1)).all():
        raise ImpossibleDataError(
            "rises by 0 or 1 in every step and never falls within an episode: it is summed up; the cost of each step "
            "is needed"
        )
    return "never falls within an episode; if it is summed up, put the cost of each step there"


class SuccessorCheck:
    """Looks whether steps lead to the observation in the next row, as those within an episode do and ends do not."""

    def __init__(self) -> None:
        self._rows = self._inside = self._ends = 0
        self._broken: list[NDArray[np.int64]] = []  # rows within episodes that lead elsewhere
        self._joined: list[NDArray[np.int64]] = []  # ends that lead to the next row

    def add(self, successors: NDArray[np.float32], following: NDArray[np.float32], is_end: NDArray[np.bool_]) -> None:
        """Takes the next block of rows: successors and the following rows' observations [N, dim], and end flags [N]."""
        close = np.isclose(successors, following, rtol=_TOLERANCE, atol=0.1 * _TOLERANCE)
        fits: NDArray[np.bool_] = np.all(close, axis=1)
        self._broken.append(self._rows + np.flatnonzero(~fits & ~is_end))
        self._joined.append(self._rows + np.flatnonzero(fits & is_end))
        self._rows += len(fits)
        self._ends += int(is_end.sum())
        self._inside += int((~is_end).sum())

    def doubts(self) -> list[str]:
        """What is odd.

        Raises:
            ImpossibleDataError: most flags stand the same number of rows beside a step that leads elsewhere.
        """
        broken, joined = (np.concatenate([np.empty(0, np.int64), *rows]) for rows in (self._broken, self._joined))
        shift = _shift(broken, joined) if len(joined) > _MOST * self._ends else 0
        if shift:
            raise ImpossibleDataError(
                f"does not fit the ends of episodes: the flags stand {abs(shift)} row(s) too "
                f"{'early' if shift > 0 else 'late'}"
            )
        found = []
        if len(broken):
            found.append(
                f"{len(broken)} of {self._inside} steps inside episodes lead elsewhere than to the next row; ends or "
                "rows may be missing"
            )
        if len(joined):
            found.append(
                f"{len(joined)} of {self._ends + 1} episodes end in the observation that the next one begins with, as "
                "the collector of the published files writes it; the first observation of those is not its own"
            )
        return found


def _shift(broken: NDArray[np.int64], joined: NDArray[np.int64]) -> int:
    """By how many rows most of the ends that lead on miss a step that does not; 0 if by different ones."""
    if len(joined) < 2 or not _MOST * len(joined) <= len(broken) <= len(joined) / _MOST:
        return 0
    following = np.searchsorted(broken, joined)
    for nearest in (following.clip(max=len(broken) - 1), (following - 1).clip(min=0)):
        offsets, counts = np.unique(broken[nearest] - joined, return_counts=True)
        if counts.max() >= _MOST * len(joined):
            return int(offsets[counts.argmax()])
    return 0
