"""One task as a gymnasium environment."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from prefine_ray.simulators.batch import SimulatorBatch, make_batch
from prefine_ray.tasks.spec import Task, get_task


def observation_space(task: Task) -> gymnasium.spaces.Box:
    """The observations [obs_dim] of a task, float32 and unbounded."""
    return gymnasium.spaces.Box(-np.inf, np.inf, (task.obs_dim,), np.float32)


def action_space(task: Task) -> gymnasium.spaces.Box:
    """The actions [act_dim] of a task, float32 in [-1, 1]."""
    return gymnasium.spaces.Box(-1.0, 1.0, (task.act_dim,), np.float32)


class TaskEnv(gymnasium.Env[NDArray[np.float32], NDArray[np.float32]]):
    """A benchmark task with the cost of a step in `info["cost"]`, truncated at the task's horizon.

    `reset(seed=s)` alone determines the episode. Actions outside [-1, 1] are clipped.

    Args:
        task: a task or its name.
        render_mode: "rgb_array" for `render()` to give pictures, without a display.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012 (gymnasium's own form)

    def __init__(self, task: str | Task, render_mode: str | None = None) -> None:
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode is {render_mode!r}; it can be None or 'rgb_array'")
        self.task = get_task(task)
        self.render_mode = render_mode
        self.observation_space, self.action_space = observation_space(self.task), action_space(self.task)
        self._batch: SimulatorBatch = make_batch(self.task, 1, pictures=render_mode is not None)
        self._steps: int | None = None  # of the running episode; None when none runs

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start the episode `seed`; without one, a seed drawn from `self.np_random` (gymnasium's convention)."""
        super().reset(seed=seed)
        if seed is None:
            seed = int(self.np_random.integers(2**32))
        self._steps = 0
        return self._batch.reset(0, seed), {"cost": np.float64(0.0)}

    def step(self, action: NDArray[np.floating]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Observation, reward, terminated (a fall), truncated (the horizon) and {"cost": cost of this step}.

        The cost is a NumPy scalar, and `reset` gives one, too (0): libraries that record infos need both.

        Raises:
            ResetNeeded: no episode runs: before the first reset, or after the episode's end.
            ValueError: the action has another shape or holds a NaN.
        """
        if self._steps is None:
            raise ResetNeeded("no episode is running: call reset() first, and again after each episode's end")
        values = np.asarray(action)
        if values.shape != (self.task.act_dim,):
            raise ValueError(f"action has shape {values.shape}; {self.task.name} takes ({self.task.act_dim},)")
        result = self._batch.step(values[None])
        self._steps += 1
        terminated = bool(result.terminated[0])
        early = result.truncated is not None and bool(result.truncated[0])
        truncated = (early or self._steps >= self.task.horizon) and not terminated
        if terminated or truncated:
            self._steps = None
        return (
            result.observations[0],
            float(result.rewards[0]),
            terminated,
            truncated,
            {"cost": result.costs[0]},
        )

    def render(self) -> NDArray[np.uint8] | None:  # type: ignore[override]
        """A picture [height, width, 3] of the present state; None without render_mode (gymnasium's convention)."""
        return self._batch.render(0) if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Free the simulator; closing twice is allowed."""
        self._batch.close()
