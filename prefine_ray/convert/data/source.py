"""What every reader of a foreign data set gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefine_ray.core.errors import PrefineError

Episode = Mapping[str, Any]  # as `Trajectories.from_episodes` takes it


class DataImportError(PrefineError, ValueError):
    """A data set cannot be converted; the message names it, what is wrong and what would be right."""


@dataclass
class Source:
    """The episodes of a foreign data set."""

    episodes: list[Episode]
    has_costs: bool
    action_box: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None  # low and high [act_dim], where known
    notes: list[str] = field(default_factory=list)  # what the user should know
