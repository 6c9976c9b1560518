"""A road with three lanes: the middle one is twice as fast, and driving on it costs.

The whole environment of the example: a few lines of NumPy that nothing of prefine_ray is imported into.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

STEPS = 50
MIDDLE = 0.3  # the fast lane is where |y| is below this
PIXELS = 96


class Lane(gymnasium.Env):
    """Observation: y and the speed along the road. Action: how fast to drive and to steer, each in [-2, 2].

    The reward of a step is the way driven along the road; the cost is 1 on the fast lane, else 0.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012 (gymnasium's own form)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.action_space = gymnasium.spaces.Box(-2.0, 2.0, (2,), np.float32)
        self._y, self._speed, self._steps = 0.0, 0.0, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """Begin at a random place beside the road's middle; all randomness is of `seed`."""
        super().reset(seed=seed)
        self._y, self._speed, self._steps = self.np_random.uniform(-1.0, 1.0), 0.0, 0
        return self._observation(), {}

    def step(self, action):
        """Five values, with the cost in info["cost"]."""
        drive, steer = (float(value) for value in action)
        self._y = float(np.clip(self._y + 0.1 * steer, -1.0, 1.0))
        self._speed += 0.5 * (drive - self._speed)
        on_fast_lane = abs(self._y) < MIDDLE
        reward = self._speed * (2.0 if on_fast_lane else 1.0)
        self._steps += 1
        return self._observation(), reward, False, self._steps >= STEPS, {"cost": float(on_fast_lane)}

    def render(self):
        """The road from above: grey, the fast lane red, the driver black."""
        picture = np.full((PIXELS, PIXELS, 3), 200, np.uint8)
        across = np.linspace(-1.0, 1.0, PIXELS)
        picture[np.abs(across) < MIDDLE] = (230, 150, 150)
        row = int((self._y + 1.0) / 2.0 * (PIXELS - 1))
        column = int(self._steps / STEPS * (PIXELS - 1))
        picture[max(0, row - 3) : row + 4, max(0, column - 3) : column + 4] = 0
        return picture

    def _observation(self):
        return np.array([self._y, self._speed])
