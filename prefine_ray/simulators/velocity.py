"""The velocity tasks of safety-gymnasium 1.0.0 (`safety_*_velocity_v1`), N copies at a time.

The models are gymnasium's v4 MuJoCo models, stepped by mujoco 2.3.3 as upstream does; observations, rewards, costs and
terminations are computed for all copies at once. An episode is bit for bit upstream's `reset(seed=seed)` and `step`,
except that actions are clipped to [-1, 1] before the control cost is taken.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prefine_ray.simulators.batch import BatchStep, clipped_actions
from prefine_ray.simulators.offscreen import OffscreenRenderer, fixed_camera
from prefine_ray.simulators.packages import package_folder
from prefine_ray.simulators.upstream import mujoco
from prefine_ray.tasks.spec import Task

_TORSO = 1  # the body that upstream measures the Ant's velocity on


@dataclass(frozen=True)
class _Robot:
    """What tells one velocity task from another; the numbers are the defaults of gymnasium's v4 environments."""

    model_file: str
    frame_skip: int  # physics steps per environment step
    control_cost: float  # weight of the squared action in the reward
    reset_noise: float
    hidden_positions: int = 1  # leading entries of qpos (the position in the world) that are not observed
    healthy_reward: float = 0.0  # per step, in the last one too
    gaussian_velocities: bool = False  # initial velocities: normal, or uniform like the positions
    velocity_clip: float = np.inf  # of the observed velocities
    planar_speed: bool = False  # the cost is on the speed of the torso in the plane, not on the x velocity
    healthy: Callable[[NDArray[np.float64]], NDArray[np.bool_]] | None = None  # state [N, nq + nv] -> [N]


def _ant_healthy(state: NDArray[np.float64]) -> NDArray[np.bool_]:
    height = state[:, 2]
    return np.isfinite(state).all(axis=1) & (height >= 0.2) & (height <= 1.0)


def _hopper_healthy(state: NDArray[np.float64]) -> NDArray[np.bool_]:
    height, angle = state[:, 1], state[:, 2]
    return (np.abs(state[:, 2:]) < 100.0).all(axis=1) & (height > 0.7) & (np.abs(angle) < 0.2)


def _walker_healthy(state: NDArray[np.float64]) -> NDArray[np.bool_]:
    height, angle = state[:, 1], state[:, 2]
    return (height > 0.8) & (height < 2.0) & (np.abs(angle) < 1.0)


_ROBOTS = {
    "AntVelocity": _Robot(
        "ant.xml",
        frame_skip=5,
        control_cost=0.5,
        reset_noise=0.1,
        hidden_positions=2,
        healthy_reward=1.0,
        gaussian_velocities=True,
        planar_speed=True,
        healthy=_ant_healthy,
    ),
    "HalfCheetahVelocity": _Robot(
        "half_cheetah.xml", frame_skip=5, control_cost=0.1, reset_noise=0.1, gaussian_velocities=True
    ),
    "HopperVelocity": _Robot(
        "hopper.xml",
        frame_skip=4,
        control_cost=1e-3,
        reset_noise=5e-3,
        healthy_reward=1.0,
        velocity_clip=10.0,
        healthy=_hopper_healthy,
    ),
    "SwimmerVelocity": _Robot("swimmer.xml", frame_skip=4, control_cost=1e-4, reset_noise=0.1, hidden_positions=2),
    "Walker2dVelocity": _Robot(
        "walker2d.xml",
        frame_skip=4,
        control_cost=1e-3,
        reset_noise=5e-3,
        healthy_reward=1.0,
        velocity_clip=10.0,
        healthy=_walker_healthy,
    ),
}


class VelocityBatch:
    """N copies of a velocity task (see `SimulatorBatch`): one model, one MjData per copy."""

    def __init__(self, task: Task, num_envs: int):
        assert task.velocity_threshold is not None
        self.num_envs = num_envs
        self._threshold = task.velocity_threshold
        self._robot = _ROBOTS[task.name]
        self._model = load_model(self._robot.model_file)
        self._data = [mujoco.MjData(self._model) for _ in range(num_envs)]
        self._controls = [data.ctrl for data in self._data]
        self._states = [view for data in self._data for view in (data.qpos, data.qvel)]
        self._torsos = [data.xpos[_TORSO] for data in self._data]
        self._step_s = self._model.opt.timestep * self._robot.frame_skip
        self._position = np.zeros((num_envs, 2))  # [N, 2], the x and y that velocities are measured on, before the step
        self._renderer: OffscreenRenderer | None = None

    def reset(self, index: int, seed: int) -> NDArray[np.float32]:
        """See `SimulatorBatch.reset`."""
        robot, model = self._robot, self._model
        rng = np.random.Generator(np.random.PCG64(seed))
        positions = model.qpos0 + rng.uniform(-robot.reset_noise, robot.reset_noise, model.nq)
        if robot.gaussian_velocities:
            velocities = robot.reset_noise * rng.standard_normal(model.nv)
        else:
            velocities = rng.uniform(-robot.reset_noise, robot.reset_noise, model.nv)
        mujoco.mj_resetData(model, self._data[index])
        return self.set_state(index, positions, velocities)

    def set_state(
        self, index: int, positions: NDArray[np.float64], velocities: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """Put copy `index` into the state qpos [nq], qvel [nv] (upstream's `set_state`); its observation [obs_dim]."""
        data = self._data[index]
        data.qpos[:], data.qvel[:] = positions, velocities
        mujoco.mj_forward(self._model, data)
        mujoco.mj_normalizeQuat(self._model, data.qpos)  # mujoco 3.2 and later leave that to the first step
        state = np.concatenate((data.qpos, data.qvel))[None]
        self._position[index] = self._torsos[index][:2] if self._robot.planar_speed else data.qpos[:2]
        return self._observe(state)[0]

    def state(self, index: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Copies of qpos [nq] and qvel [nv] of copy `index`."""
        return self._data[index].qpos.copy(), self._data[index].qvel.copy()

    def step(self, actions: NDArray[np.floating], active: NDArray[np.bool_] | None = None) -> BatchStep:
        """See `SimulatorBatch.step`."""
        clipped = clipped_actions(actions, (self.num_envs, self._model.nu), active)
        self._simulate(clipped, range(self.num_envs) if active is None else np.flatnonzero(active).tolist())
        state = np.concatenate(self._states).reshape(self.num_envs, -1)
        position = np.array(self._torsos)[:, :2] if self._robot.planar_speed else state[:, :2]
        velocity = (position - self._position) / self._step_s
        self._position = position
        speed = np.sqrt(np.square(velocity).sum(axis=1)) if self._robot.planar_speed else velocity[:, 0]
        rewards = (
            velocity[:, 0] + self._robot.healthy_reward - self._robot.control_cost * np.square(clipped).sum(axis=1)
        )
        costs = (speed > self._threshold).astype(np.float64)
        healthy = self._robot.healthy
        terminated = np.zeros(self.num_envs, dtype=np.bool_) if healthy is None else ~healthy(state)
        return BatchStep(self._observe(state), rewards, costs, terminated)

    def _simulate(self, actions: NDArray[np.float64], indices: range | list[int]) -> None:
        """Advance these copies by one environment step."""
        model, frame_skip, step = self._model, self._robot.frame_skip, mujoco.mj_step
        for index in indices:
            self._controls[index][:] = actions[index]
            step(model, self._data[index], frame_skip)

    def _observe(self, state: NDArray[np.float64]) -> NDArray[np.float32]:
        """Observations of the states [N, nq + nv]."""
        observations = state[:, self._robot.hidden_positions :].astype(np.float32)
        if np.isfinite(self._robot.velocity_clip):
            velocities = observations[:, -self._model.nv :]
            np.clip(velocities, -self._robot.velocity_clip, self._robot.velocity_clip, out=velocities)
        return observations

    def render(self, index: int) -> NDArray[np.uint8]:
        """See `SimulatorBatch.render`.

        Raises:
            RenderingUnavailableError: there is no GL backend.
        """
        if self._renderer is None:
            self._renderer = OffscreenRenderer(self._model, fixed_camera(self._model, "track"))
        return self._renderer.render(self._data[index])

    def close(self) -> None:
        """See `SimulatorBatch.close`."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None


def load_model(file: str) -> mujoco.MjModel:
    """A model of gymnasium's MuJoCo environments; upstream casts no shadow in its pictures."""
    model = mujoco.MjModel.from_xml_path(os.path.join(package_folder("gymnasium"), "envs", "mujoco", "assets", file))
    model.light_castshadow[0] = False
    return model
