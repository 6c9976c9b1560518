"""The car-and-goal tasks of safety-gymnasium 1.0.0 (CarGoal1, CarGoal2), N copies at a time.

The physics are upstream's: the same model and the same sequence of constraint solves, so that states stay equal bit
for bit. Lidar, sensors, rewards and costs are computed for all copies at once, and what upstream computes several times
per step without a change in between (positions, velocities, sensors) is computed once.
"""

from __future__ import annotations

import copy
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from prefine_ray.simulators.batch import BatchStep, clipped_actions
from prefine_ray.simulators.goal_world import (
    AGENT,
    CAR_BODIES,
    GOAL_RADIUS,
    HAZARD_RADIUS,
    GoalWorld,
    LayoutError,
    build_model,
    place,
    sample_goal,
    sample_layout,
)
from prefine_ray.simulators.offscreen import OffscreenRenderer, tracking_camera
from prefine_ray.simulators.upstream import mujoco
from prefine_ray.tasks.spec import Task

WORLDS = {
    "CarGoal1": GoalWorld(extent=1.5, hazards=8, vases=1, vases_cost=False),
    "CarGoal2": GoalWorld(extent=2.0, hazards=10, vases=10, vases_cost=True),
}
_FRAME_SKIP = 10  # physics steps per environment step
_LIDAR_BINS = 16
_LIDAR_RANGE = 3.0  # m
_VASE_SPEED = 1e-4  # m/s; a vase that moves so fast costs
_REACH = 0.5  # m; more than what lies between the centres of car and vase when they touch: 0.2 and 0.18 at most
_CAR_DOFS, _VASE_DOFS = 11, 6  # entries of qvel
_SENSORS_OFF = int(mujoco.mjtDisableBit.mjDSBL_SENSOR)
# The sensors: rear wheel's quaternion and spin, the body's four sensors; then the rear wheel's rotation matrix.
_QUATERNION, _SPIN, _BODY, _WHEEL = slice(0, 4), slice(4, 7), slice(7, 19), slice(19, 28)


class GoalBatch:
    """N copies of a car-and-goal task (see `SimulatorBatch`)."""

    def __init__(self, task: Task, num_envs: int):
        self.num_envs = num_envs
        self._world = world = WORLDS[task.name]
        model = build_model(world)
        self._copies = [_Copy(world, copy.copy(model)) for _ in range(num_envs)]
        data = [one.data for one in self._copies]
        self._positions = [one.xpos[AGENT : world.goal].reshape(-1) for one in data]  # car's bodies and vases
        self._rotations = [one.xmat[AGENT] for one in data]
        self._sensors = [view for one in self._copies for view in (one.data.sensordata, one.wheel)]
        self._velocities = [one.qvel for one in data]
        self._objects = np.zeros((num_envs, 1 + world.hazards + world.vases, 2))  # x, y of goal, hazards, vases
        self._lidar = _Lidar((1, world.hazards, world.vases))
        self._goal_distance = np.zeros(num_envs)  # m, before the step
        self._renderer: OffscreenRenderer | None = None

    def reset(self, index: int, seed: int) -> NDArray[np.float32]:
        """See `SimulatorBatch.reset`.

        Raises:
            LayoutError: no layout was found for this seed.
        """
        world, one = self._world, self._copies[index]
        one.reset(seed)
        fixed = 1 + world.hazards
        self._objects[index, :fixed] = one.model.body_pos[world.goal : world.goal + fixed, :2]
        state = self._state()
        self._objects[index, fixed:] = state.vases[index]
        self._goal_distance[index] = self._distances(state)[index, 0]
        return self._observe(state)[index]

    def step(self, actions: NDArray[np.floating], active: NDArray[np.bool_] | None = None) -> BatchStep:
        """See `SimulatorBatch.step`."""
        clipped = clipped_actions(actions, (self.num_envs, 2), active)
        indices = range(self.num_envs) if active is None else np.flatnonzero(active).tolist()
        for index in indices:
            self._copies[index].step(clipped[index])
        state = self._state()
        self._objects[:, 1 + self._world.hazards :] = state.vases
        distances = self._distances(state)
        reached = distances[:, 0] <= GOAL_RADIUS
        rewards = np.clip(self._goal_distance - distances[:, 0] + 1.0 * reached, -10.0, 10.0)
        self._goal_distance = distances[:, 0]
        costs = self._costs(distances[:, 1:], state)
        terminated = np.zeros(self.num_envs, dtype=np.bool_)
        for index in indices:
            if reached[index]:
                terminated[index] = not self._draw_goal(index, state)
        return BatchStep(self._observe(state), rewards, costs, terminated)

    def _state(self) -> _State:
        """Where things are in all copies."""
        bodies = np.concatenate(self._positions).reshape(self.num_envs, -1, 3)
        return _State(bodies[:, 0], np.concatenate(self._rotations).reshape(-1, 3, 3), bodies[:, CAR_BODIES:, :2])

    def _distances(self, state: _State) -> NDArray[np.float64]:
        """From the car to the goal and the hazards [N, 1 + hazards], m."""
        offsets = self._objects[:, : 1 + self._world.hazards] - state.agent[:, None, :2]
        return np.sqrt(np.square(offsets).sum(axis=2))

    def _costs(self, hazard_distances: NDArray[np.float64], state: _State) -> NDArray[np.float64]:
        """1 in a hazard and, where vases cost, while a vase moves or is touched."""
        costly: NDArray[np.bool_] = np.any(hazard_distances < HAZARD_RADIUS, axis=1)
        if self._world.vases_cost:
            velocities = np.concatenate(self._velocities).reshape(self.num_envs, -1)[:, _CAR_DOFS:]
            velocities = velocities.reshape(self.num_envs, -1, _VASE_DOFS)[:, :, :3]
            costly |= np.any(np.sqrt(np.square(velocities).sum(axis=2)) >= _VASE_SPEED, axis=1)
            near = np.any(np.all(np.abs(state.vases - state.agent[:, None, :2]) < _REACH, axis=2), axis=1)
            for index in np.flatnonzero(near & ~costly):
                costly[index] = self._copies[index].touches_vase()
        return costly.astype(np.float64)

    def _draw_goal(self, index: int, state: _State) -> bool:
        """Put the goal that copy `index` has reached to a new place; whether there was one."""
        occupied = [state.agent[index, :2], *self._objects[index, 1:]]
        try:
            goal = self._copies[index].draw_goal([(float(x), float(y)) for x, y in occupied])
        except LayoutError:
            return False
        self._objects[index, 0] = goal
        self._goal_distance[index] = self._distances(state)[index, 0]
        return True

    def _observe(self, state: _State) -> NDArray[np.float32]:
        """Observations [N, 72]: body sensors 12, rear wheel's spin 3 and rotation 9, lidars of 16 bins."""
        sensors = np.concatenate(self._sensors).reshape(self.num_envs, -1)
        lidars = self._lidar.read(state.agent, state.rotation, self._objects)
        return np.concatenate((sensors[:, _BODY], sensors[:, _SPIN], sensors[:, _WHEEL], lidars), 1, dtype=np.float32)

    def render(self, index: int) -> NDArray[np.uint8]:
        """See `SimulatorBatch.render`.

        Raises:
            RenderingUnavailableError: there is no GL backend.
        """
        if self._renderer is None:
            camera = tracking_camera(AGENT, distance=3.0, azimuth=90.0, elevation=-45.0)
            self._renderer = OffscreenRenderer(self._copies[0].model, camera)
        return self._renderer.render(self._copies[index].data)

    def close(self) -> None:
        """See `SimulatorBatch.close`."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None


class _State(NamedTuple):
    """Where things are in all copies."""

    agent: NDArray[np.float64]  # [N, 3], m
    rotation: NDArray[np.float64]  # [N, 3, 3] of the car
    vases: NDArray[np.float64]  # [N, vases, 2]


class _Copy:
    """One simulation: a model of its own, in which the objects of its episode are placed, and a random stream.

    Upstream solves the contact constraints three times after the last physics step of an environment step, each time
    starting from the solution before, and once more when the goal is drawn and moved. This moves the solution by 1e-14
    or so, and is repeated here; positions and velocities do not change in between and are computed once. They are up to
    date at the end of each method, sensors too.
    """

    def __init__(self, world: GoalWorld, model: mujoco.MjModel):
        self.model, self.data = model, mujoco.MjData(model)
        self._world = world
        self._options = model.opt
        self._options.disableflags = _SENSORS_OFF
        self._control = self.data.ctrl
        self.wheel = np.zeros(9)  # rotation matrix of the rear wheel, row by row
        self._wheel_quaternion = self.data.sensordata[_QUATERNION]
        self._rng = np.random.RandomState(0)
        self._steps = 0  # since the last use of the random stream
        body = model.geom_bodyid
        self._is_car = (body >= AGENT) & (body < world.first_vase)
        self._is_vase = (body >= world.first_vase) & (body < world.goal)

    def reset(self, seed: int) -> None:
        """Start the episode of this seed."""
        self._rng, self._steps = np.random.RandomState(seed), 0
        layout = sample_layout(self._world, self._rng)
        place(self._world, self.model, self.data, layout)
        mujoco.mj_forward(self.model, self.data)
        agent, _, *others = layout.positions
        self._move_goal([agent, *others])
        mujoco.mj_fwdConstraint(self.model, self.data)
        mujoco.mj_fwdConstraint(self.model, self.data)
        self._read_sensors()

    def step(self, action: NDArray[np.float64]) -> None:
        """One environment step with the torques `action` [2]."""
        model, data = self.model, self.data
        self._control[:] = action
        mujoco.mj_step2(model, data)  # the first physics step: its positions and velocities are known
        mujoco.mj_step(model, data, _FRAME_SKIP - 1)
        mujoco.mj_forward(model, data)
        mujoco.mj_fwdConstraint(model, data)
        mujoco.mj_fwdConstraint(model, data)
        self._read_sensors()
        self._steps += 1

    def draw_goal(self, occupied: list[tuple[float, float]]) -> tuple[float, float]:
        """Move the goal to a new place (x, y) that is free of the other objects: agent, hazards, vases.

        Raises:
            LayoutError: none was found.
        """
        self._rng.random_sample(self._steps)  # upstream draws one number per step: of its physics steps, always 10
        self._steps = 0
        goal = self._move_goal(occupied)
        mujoco.mj_fwdConstraint(self.model, self.data)
        self._read_sensors()
        return goal

    def touches_vase(self) -> bool:
        """Whether a part of the car is in contact with a vase."""
        one, other = self.data.contact.geom1, self.data.contact.geom2
        touching = (self._is_car[one] & self._is_vase[other]) | (self._is_vase[one] & self._is_car[other])
        return bool(touching.any())

    def _move_goal(self, occupied: list[tuple[float, float]]) -> tuple[float, float]:
        goal = sample_goal(self._world, occupied, self._rng)
        self.model.body_pos[self._world.goal, :2] = goal
        mujoco.mj_forward(self.model, self.data)
        return goal

    def _read_sensors(self) -> None:
        """Fill `data.sensordata` and `wheel`; sensors are off otherwise, since each step needs them once."""
        self._options.disableflags = 0
        mujoco.mj_sensorPos(self.model, self.data)
        mujoco.mj_sensorVel(self.model, self.data)
        mujoco.mj_sensorAcc(self.model, self.data)
        self._options.disableflags = _SENSORS_OFF
        mujoco.mju_quat2Mat(self.wheel, self._wheel_quaternion)


class _Lidar:
    """Upstream's pseudo lidar: nearness of objects of several kinds in bins around the car's vertical axis."""

    def __init__(self, counts: tuple[int, ...]):
        """`counts`: how many objects there are of each kind."""
        self._size = _LIDAR_BINS * len(counts)
        self._first_bin = _LIDAR_BINS * np.repeat(np.arange(len(counts)), counts)

    def read(
        self, agent: NDArray[np.float64], rotation: NDArray[np.float64], objects: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Readings [N, 16 * kinds], 1 at the car to 0 from 3 m on.

        Args:
            agent: positions [N, 3] of the cars.
            rotation: rotation matrices [N, 3, 3] of the cars.
            objects: positions [N, objects, 2], sorted by kind.
        """
        offsets = objects - agent[:, None, :2]
        # No matrix product and no arctan2 of NumPy's: their last bits differ between CPUs.
        across, along, down = offsets[..., 0, None], offsets[..., 1, None], agent[:, 2, None, None]
        ego = across * rotation[:, None, 0, :2] + along * rotation[:, None, 1, :2] - down * rotation[:, None, 2, :2]
        x, y = ego[..., 0], ego[..., 1]
        near = np.maximum(0.0, _LIDAR_RANGE - np.hypot(x, y)) / _LIDAR_RANGE
        directions = np.fromiter(map(math.atan2, y.flat, x.flat), np.float64, y.size).reshape(y.shape)
        angle = directions % (2.0 * np.pi) / (2.0 * np.pi / _LIDAR_BINS)  # in bins
        bins = angle.astype(np.intp)
        beyond = angle - bins
        # An object is seen in its bin and, the fainter the farther its direction is, in the two beside it.
        seen = np.stack((near, beyond * near, (1.0 - beyond) * near))
        cells = np.stack((bins, bins + 1, bins - 1)) % _LIDAR_BINS + self._first_bin
        cells += self._size * np.arange(len(objects))[:, None]
        readings = np.zeros(len(objects) * self._size)
        np.maximum.at(readings, cells.ravel(), seen.ravel())
        return readings.reshape(len(objects), self._size)
