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


@dataclass(frozen=True)
class Sprint:
    """A point mass that is pushed along x at a steady speed, and with all force beyond a place.

    Parameters: speed (m/s), place where the sprint begins (m), force per difference from the wanted speed (s/m), gains
    on y (1/m) and on its derivative (s/m).
    """

    place: tuple[int, int]  # columns of x and y in the observation
    velocity: tuple[int, int]  # and of their derivatives
    place_scale: float  # what x and y are multiplied by in the observation
    velocity_scale: float
    prior: Prior = ((2.37, 5.0, 3.0, 0.3, 0.5), (0.01, 2.0, 0.3, 0.05, 0.05))  # nearly a given speed: clones scatter

    def actions(self, parameters: Floats, observations: NDArray[np.float32], step: int) -> Floats:
        """Actions [N, 2] for parameters [N, 5] and observations [N, obs_dim], the same at every step."""
        speed, start, push, centre, damping = parameters.T
        x, y = observations[:, list(self.place)].T / self.place_scale
        vx, vy = observations[:, list(self.velocity)].T / self.velocity_scale
        wanted = speed + 100.0 * np.maximum(0.0, x - start)
        return np.stack((push * (wanted - vx), -centre * y - damping * vy), axis=1)


@dataclass(frozen=True)
class Seek:
    """A car that drives to a goal, forwards or backwards, in a direction that few hazards are in.

    Each bin of the lidars is a direction. It scores the cosine to the goal less the danger of the hazards in and beside
    it, and the car turns towards a mean of the directions with the best scores.

    Parameters: speed (m/s), weight of the danger, sharpness of the choice among directions, distance over which danger
    falls by a factor e (m), gain on the angle, gain on the yaw rate, gain on the speed, braking per danger ahead.
    """

    goal: int  # first column of the lidar of the goal in the observation
    hazards: int  # and of that of the hazards
    velocity: tuple[int, int]  # columns of the velocity in the frame of the car, x and y
    yaw_rate: int
    front: float  # direction of the front in that frame, rad
    bins: int = 16
    lidar_range: float = 3.0  # m
    hazard_radius: float = 0.2  # m
    prior: Prior = ((0.9, 1.0, 2.0, 0.3, 1.8, 0.0, 1.6, 1.0), (0.05, 0.2, 0.3, 0.05, 0.2, 0.03, 0.3, 0.1))

    def actions(self, parameters: Floats, observations: NDArray[np.float32], step: int) -> Floats:
        """Torques [N, 2] of the wheels for parameters [N, 8] and observations [N, obs_dim], the same at every step."""
        speed, weight, sharpness, reach, turn, damping, push, brake = np.split(parameters, 8, axis=1)
        directions = (np.arange(self.bins) + 0.5) * 2 * np.pi / self.bins
        danger = self._danger(observations, np.abs(reach))
        near = np.maximum(0.0, np.cos(directions[:, None] - directions)) ** 4
        scores = self._towards_goal(observations, directions) - np.abs(weight) * (danger @ near)
        chosen = _mean_direction(np.exp(3 * np.abs(sharpness) * (scores - scores.max(1, keepdims=True))), directions)
        angle = _wrap(chosen - self.front)
        backwards = np.cos(angle) < 0
        heading = np.where(backwards, -1.0, 1.0)
        angle = np.where(backwards, _wrap(angle - np.pi), angle)
        ahead = danger * np.maximum(0.0, heading * np.cos(directions - self.front)) ** 4
        wanted = heading * speed * np.cos(angle) * np.clip(1.0 - brake * ahead.max(1, keepdims=True), 0.0, 1.0)
        drive = push * (wanted - self._speed(observations))
        steer = turn * angle - damping * observations[:, self.yaw_rate, None]
        return np.concatenate((drive + steer, drive - steer), axis=1)

    def _danger(self, observations: NDArray[np.float32], reach: Floats) -> Floats:
        """Of the nearest hazard in each direction [N, bins]: 1 at its edge, 0 where there is none."""
        lidar = observations[:, self.hazards : self.hazards + self.bins].astype(np.float64)
        distance = np.maximum(0.0, self.lidar_range * (1.0 - lidar) - self.hazard_radius)
        return np.exp(-distance / reach) * (lidar > 0)

    def _towards_goal(self, observations: NDArray[np.float32], directions: Floats) -> Floats:
        """Cosine of the angle between each direction and that of the goal [N, bins]."""
        lidar = observations[:, self.goal : self.goal + self.bins].astype(np.float64)
        return np.cos(directions - _mean_direction(lidar, directions))

    def _speed(self, observations: NDArray[np.float32]) -> Floats:
        """Forwards, m/s [N, 1]."""
        x, y = (observations[:, column, None].astype(np.float64) for column in self.velocity)
        return x * np.cos(self.front) + y * np.sin(self.front)


def _mean_direction(weights: Floats, directions: Floats) -> Floats:
    """The direction [N, 1] of the weighted sum of unit vectors, for weights [N, bins]."""
    return np.arctan2(weights @ np.sin(directions), weights @ np.cos(directions))[:, None]


def _wrap(angle: Floats) -> Floats:
    """To [-pi, pi)."""
    return (angle + np.pi) % (2 * np.pi) - np.pi


def _unit(rows: Floats) -> Floats:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
