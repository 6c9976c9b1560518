"""The Button, Circle and Push tasks, and Goal with the point, of safety-gymnasium 1.0.0: N copies, one after the other.

Each episode has an environment of its own, so that nothing carries over from the one before.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefine_ray.simulators.batch import BatchStep, clipped_actions
from prefine_ray.simulators.goal_world import AGENT, LayoutError
from prefine_ray.simulators.navigation.builder import new_environment
from prefine_ray.simulators.offscreen import OffscreenRenderer, tracking_camera
from prefine_ray.simulators.upstream import import_safety_gymnasium
from prefine_ray.tasks.spec import Task


class NavigationBatch:
    """N copies of a navigation task (see `SimulatorBatch`)."""

    def __init__(self, task: Task, num_envs: int) -> None:
        self.num_envs = num_envs
        self._task = task
        self._resampling_error: type[Exception] = import_safety_gymnasium("utils.common_utils").ResamplingError
        self._environments: list[Any] = [new_environment(task) for _ in range(num_envs)]
        self._observations = np.zeros((num_envs, task.obs_dim), dtype=np.float32)  # the last ones
        self._renderer: OffscreenRenderer | None = None
        self._drawn: Any = None  # the environment that the renderer draws

    def reset(self, index: int, seed: int) -> NDArray[np.float32]:
        """See `SimulatorBatch.reset`.

        Raises:
            LayoutError: no layout was found for this seed.
        """
        self._environments[index] = environment = new_environment(self._task)
        try:
            observation, _ = environment.reset(seed=seed)
        except self._resampling_error as error:
            raise LayoutError(f"{self._task.name}, seed {seed}: {error}") from error
        self._observations[index] = observation
        return self._observations[index].copy()

    def step(self, actions: NDArray[np.floating], active: NDArray[np.bool_] | None = None) -> BatchStep:
        """See `SimulatorBatch.step`."""
        clipped = clipped_actions(actions, (self.num_envs, self._task.act_dim), active)
        rewards, costs = np.zeros(self.num_envs), np.zeros(self.num_envs)
        terminated = np.zeros(self.num_envs, dtype=np.bool_)
        for index in range(self.num_envs) if active is None else np.flatnonzero(active).tolist():
            given = self._environments[index].step(clipped[index])
            self._observations[index], rewards[index], costs[index], terminated[index], *_ = given
        return BatchStep(self._observations.copy(), rewards, costs, terminated)

    def render(self, index: int) -> NDArray[np.uint8]:
        """See `SimulatorBatch.render`.

        Raises:
            RenderingUnavailableError: there is no GL backend.
        """
        environment = self._environments[index]
        if self._renderer is None or self._drawn is not environment:
            self.close()
            camera = tracking_camera(AGENT, distance=3.0, azimuth=90.0, elevation=-45.0)
            self._renderer, self._drawn = OffscreenRenderer(environment.task.model, camera), environment
        return self._renderer.render(environment.task.data)

    def close(self) -> None:
        """See `SimulatorBatch.close`."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
