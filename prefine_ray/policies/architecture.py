"""The sizes and the kind of a Gaussian policy."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

Activation = Literal["relu", "tanh"]
OBSERVATION_LIMIT = 10.0  # normalised observations are clipped to it, unless an imported policy has another limit
UNLIMITED = 3.4028234663852886e38  # the largest single-precision number: no finite observation is clipped


@dataclass(frozen=True)
class Architecture:
    """The sizes and the kind of a Gaussian policy."""

    obs_dim: int
    act_dim: int
    hidden: tuple[int, ...] = (256, 256)
    activation: Activation = "relu"
    state_dependent_std: bool = False  # a second head gives log sigma; else one parameter per action
    squash: bool = False  # True: tanh of the Gaussian sample; False: the sample clipped to [-1, 1]
    log_std_bounds: tuple[float, float] = (-5.0, 2.0)
    observation_limit: float = OBSERVATION_LIMIT  # of normalised observations

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """Widths from input to output."""
        return (self.obs_dim, *self.hidden, self.act_dim * (2 if self.state_dependent_std else 1))

    def shapes(self, population: int) -> dict[str, tuple[int, ...]]:
        """The shapes of all tensors of so many policies, by their names in `state_dict`."""
        shapes: dict[str, tuple[int, ...]] = {}
        for layer, (fan_in, fan_out) in enumerate(pairwise(self.layer_sizes)):
            shapes |= {f"weights.{layer}": (population, fan_in, fan_out), f"biases.{layer}": (population, 1, fan_out)}
        if not self.state_dependent_std:
            shapes["log_std"] = (population, 1, self.act_dim)
        return shapes | dict.fromkeys(("obs_mean", "obs_std"), (population, 1, self.obs_dim))
