"""Families of simple controllers that a pretraining run can start from, with a handful of parameters each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Prior = tuple[tuple[float, ...], tuple[float, ...]]  # mean and deviation of the parameters, where a search begins


@dataclass(frozen=True)
class Gait:
    """Two joints that follow sine waves.

    Parameters: log of the angular frequency (rad/s), amplitudes (2) and phase of the second joint (rad), gains on the
    angle and on the angular velocity.
    """

    angles: tuple[int, int]  # columns of the joints' angles in the observation
    speeds: tuple[int, int]  # and of their angular velocities
    step_s: float  # seconds per step
    prior: Prior = ((1.6, 0.6, 0.6, -1.5, 2.0, 0.3), (0.5, 0.3, 0.3, 1.0, 1.0, 0.2))

    def actions(self, parameters: Floats, observations: NDArray[np.float32], step: int) -> Floats:
        """Actions [N, 2] at a step of the episode, for parameters [N, 6] and observations [N, obs_dim]."""
        phase = np.exp(parameters[:, 0]) * step * self.step_s
        target = parameters[:, 1:3] * np.sin(np.stack([phase, phase + parameters[:, 3]], axis=1))
        angles, speeds = observations[:, list(self.angles)], observations[:, list(self.speeds)]
        return parameters[:, 4:5] * (target - angles) - parameters[:, 5:6] * speeds


@dataclass(frozen=True)
class Orbit:
    """A point mass that is pushed clockwise along an ellipse around the origin.

    Parameters: speed (m/s), semi-axes (m) in x and y, speed towards the ellipse per metre from it (1/s), force per
    difference from the wanted velocity (s/m), force towards the origin per square of the speed (s^2/m^2).
    """

    place: tuple[int, int]  # columns of x and y in the observation
    velocity: tuple[int, int]  # and of their derivatives
    place_scale: float  # what x and y are multiplied by in the observation
    velocity_scale: float
    prior: Prior = ((7.5, 6.0, 7.0, 1.5, 2.0, 0.03), (1.0, 0.5, 0.5, 0.5, 0.5, 0.01))

    def actions(self, parameters: Floats, observations: NDArray[np.float32], step: int) -> Floats:
        """Actions [N, 2] for parameters [N, 6] and observations [N, obs_dim], the same at every step."""
        speed, axes = parameters[:, :1], parameters[:, 1:3]
        approach, gain, inwards = parameters[:, 3:4], parameters[:, 4:5], parameters[:, 5:6]
        place = observations[:, list(self.place)] / self.place_scale
        velocity = observations[:, list(self.velocity)] / self.velocity_scale
        scaled = place / axes
        distance = np.linalg.norm(scaled, axis=1, keepdims=True)
        outwards = _unit(scaled / axes)
        along = np.stack([outwards[:, 1], -outwards[:, 0]], axis=1)
        wanted = speed * along - approach * (distance - 1.0) * axes.mean(axis=1, keepdims=True) * outwards
        return gain * (wanted - velocity) - inwards * np.square(velocity).sum(axis=1, keepdims=True) * outwards


def _unit(rows: Floats) -> Floats:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
