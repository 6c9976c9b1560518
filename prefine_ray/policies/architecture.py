"""The sizes and the kind of a Gaussian policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Activation = Literal["relu", "tanh"]


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

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """Widths from input to output."""
        return (self.obs_dim, *self.hidden, self.act_dim * (2 if self.state_dependent_std else 1))
