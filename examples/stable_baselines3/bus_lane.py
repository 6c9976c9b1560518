"""A road with a bus lane: driving on it is 15 % faster, and forbidden.

The whole environment of the example; nothing of prefine_ray is imported here.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

STEPS = 50
BUS_LANE = 0.5  # the bus lane is where y is above this


class BusLane(gymnasium.Env):
    """Observation: y across the road, in [-1, 1], and the speed. Action: how fast to drive and to steer, in [-2, 2].

    The reward of a step is the way driven; the cost is 1 on the bus lane, else 0.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 (gymnasium's own form)

    def __init__(self) -> None:
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.action_space = gymnasium.spaces.Box(-2.0, 2.0, (2,), np.float32)
        self._y, self._speed, self._steps = 0.0, 0.0, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """Begin at a random place across the road; all randomness is of `seed`."""
        super().reset(seed=seed)
        self._y, self._speed, self._steps = self.np_random.uniform(-1.0, 1.0), 0.0, 0
        return np.array([self._y, self._speed]), {}

    def step(self, action):
        """Five values, with the cost in info["cost"]."""
        drive, steer = (float(value) for value in action)
        self._y = float(np.clip(self._y + 0.1 * steer, -1.0, 1.0))
        self._speed += 0.5 * (drive - self._speed)
        on_bus_lane = self._y > BUS_LANE
        reward = self._speed * (1.15 if on_bus_lane else 1.0)
        self._steps += 1
        observation = np.array([self._y, self._speed])
        return observation, reward, False, self._steps >= STEPS, {"cost": float(on_bus_lane)}
