"""Where segments of equal time start in a data episode and in its counterfactual."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from prefine_ray.methods.population import MemberRows


class SegmentTable:
    """For each member the pairs (data step, counterfactual row) at which a segment may start."""

    def __init__(self, pairs: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]], device: torch.device):
        self._data = MemberRows([data for data, _ in pairs], device)
        self._rows = torch.as_tensor(np.concatenate([rows for _, rows in pairs]), device=device)

    def draw(self, uniform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Starts [P, B] of uniformly drawn segments, from uniform numbers [P, B] in [0, 1)."""
        places = self._data.places(uniform)
        return self._data.values[places], self._rows[places]


def segment_starts(
    starts: NDArray[np.int64], lengths: NDArray[np.int64], counterfactual_lengths: NDArray[np.int64], segment: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs (data step, counterfactual row) of equal time at which `segment` steps fit in both episodes.

    Args:
        starts: [K] first flat step of each data episode.
        lengths: [K] steps of each data episode.
        counterfactual_lengths: [K] steps of the counterfactual beside it; rows are numbered through.
        segment: steps per segment.
    """
    usable = np.maximum(np.minimum(lengths, counterfactual_lengths) - segment + 1, 0)
    first_rows = np.cumsum(counterfactual_lengths) - counterfactual_lengths
    time = np.arange(usable.sum()) - np.repeat(np.cumsum(usable) - usable, usable)
    return np.repeat(starts, usable) + time, np.repeat(first_rows, usable) + time
