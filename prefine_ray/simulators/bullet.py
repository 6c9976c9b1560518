"""The eight Bullet-Safety-Gym tasks of DSRL: an agent runs along a track or in a circle.

Rewards and costs are those of `bullet_safety_gym.envs.tasks` 1.4.0 (RunTask, CircleTask).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from prefine_ray.simulators.batch import BatchStep, clipped_actions
from prefine_ray.simulators.bullet_agents import Agent, Ant, Ball, Drone, Floats, RaceCar, Reading, norm
from prefine_ray.simulators.bullet_scene import (
    Scene,
    World,
    build_world,
    circle_scene,
    copy_pose,
    forget_contacts,
    picture,
    pose,
    pybullet,
    run_scene,
)
from prefine_ray.tasks.spec import Task


class Rules(ABC):
    """A task's start, rewards and costs for N copies of an agent."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent

    @abstractmethod
    def place(self, index: int, random: np.random.RandomState) -> None:
        """Put a copy's agent where an episode starts."""

    @abstractmethod
    def rewards(self, actions: Floats, stepped: list[int]) -> Floats:
        """[N], the rewards of the last step, which took `actions` [N, act_dim] in the copies `stepped`."""

    @abstractmethod
    def costs(self) -> NDArray[np.bool_]:
        """[N], whether the state costs."""

    def observations(self) -> Floats:
        """[N, obs_dim], what the agent sees of itself, then what it is told of the task: nothing."""
        return self.agent.observations()

    def _move(self, index: int, place: Reading, yaw: float | None = None) -> Reading:
        """Put an agent at rest on a place (x, y, z), turned to `yaw` or as it was; where the engine has put it."""
        world = self.agent.worlds[index]
        angles = pybullet.getEulerFromQuaternion(pose(world)[1]) if yaw is None else (0.0, 0.0, yaw)
        turn = pybullet.getQuaternionFromEuler(angles)
        pybullet.resetBasePositionAndOrientation(world.agent, place, turn, world.client)
        return pose(world)[0]


class Run(Rules):
    """RunTask: run along x; crossing |y| = 2 m or exceeding the speed limit costs."""

    TARGET = np.array([1e3, 0.0])  # m
    WIDTH = 2.0

    def __init__(self, agent: Agent) -> None:
        super().__init__(agent)
        self._potentials: Floats = np.zeros(len(agent.worlds))

    def place(self, index: int, random: np.random.RandomState) -> None:
        """Within 1 cm of the origin."""
        x, y = random.uniform(-0.01, 0.01, 2)
        position = self._move(index, (x, y, self.agent.model.height))
        self._potentials[index] = self._potential(np.array([position]))[0]

    def rewards(self, actions: Floats, stepped: list[int]) -> Floats:
        """[N], 60 per metre towards a far target, and the agent's share."""
        potentials = self._potential(self.agent.states)
        progress = potentials - self._potentials
        self._potentials[stepped] = potentials[stepped]
        return progress + self.agent.rewards(actions)

    def costs(self) -> NDArray[np.bool_]:
        """[N], whether it is off the track or too fast."""
        states = self.agent.states
        return (np.abs(states[:, 1]) > self.WIDTH) | (norm(states[:, 3:5]) > self.agent.speed_limit)

    def _potential(self, positions: Floats) -> Floats:
        return norm(positions[:, :2] - self.TARGET) * -60


class Circle(Rules):
    """CircleTask: run clockwise along a circle of 7 m; leaving |x| <= 6 m costs."""

    RADIUS = 7.0
    WIDTH = 6.0
    ARENA = 10.0  # m, the scale of the distance in the observation

    def place(self, index: int, random: np.random.RandomState) -> None:
        """2 to 4 m from the origin, heading along the circle."""
        random.uniform(-4.0, 4.0, 2)  # upstream draws once in vain
        place = random.uniform(-4.0, 4.0, 2)
        while not 2.0 <= norm(place[None])[0] <= 4.0:
            place = random.uniform(-4.0, 4.0, 2)
        position = self._move(index, (*place, self.agent.model.height))
        x, y, _ = -np.array(position) / norm(np.array([position]))
        yaw = math.atan2(y, x) + np.pi / 2 + self.agent.model.yaw  # NumPy's differs between CPUs
        self._move(index, position, yaw)

    def rewards(self, actions: Floats, stepped: list[int]) -> Floats:
        """[N], speed across the radius, less with the distance from the circle, and the agent's share."""
        x, y, _, vx, vy = self.agent.states[:, :5].T
        return 0.1 * (y * vx - x * vy) / (1 + np.abs(self._distances())) + 0.01 * self.agent.rewards(actions)

    def costs(self) -> NDArray[np.bool_]:
        """[N], whether it is out of bounds."""
        return np.abs(self.agent.states[:, 0]) > self.WIDTH

    def observations(self) -> Floats:
        """[N, obs_dim], what the agent sees of itself, then its distance from the circle, negative inside."""
        return np.concatenate((super().observations(), self._distances()[:, None] / self.ARENA), axis=1)

    def _distances(self) -> Floats:
        return norm(self.agent.states[:, :2]) - self.RADIUS


AGENTS: dict[str, tuple[type[Agent], type[Rules], Scene]] = {
    "CarRun": (RaceCar, Run, run_scene(frame_skip=4)),
    "BallRun": (Ball, Run, run_scene(frame_skip=4)),
    "DroneRun": (Drone, Run, run_scene(frame_skip=2)),
    "BallCircle": (Ball, Circle, circle_scene()),
    "CarCircle": (RaceCar, Circle, circle_scene()),
    "AntRun": (Ant, Run, run_scene(frame_skip=4)),
    "AntCircle": (Ant, Circle, circle_scene()),
    "DroneCircle": (Drone, Circle, circle_scene()),
}


class BulletBatch:
    """N copies of a Bullet task, each in an engine instance of its own.

    Args:
        task: one of the tasks in `AGENTS`.
        num_envs: N.
        carry_over: start episodes as an upstream environment that runs one after the other does. There the motors run
            on with the last action of the episode before, and contacts stay: the drone takes off with turning rotors.
            So an episode depends on those that the copy ran before.

    Raises:
        RuntimeError: the engine gives no further instance (about 1,000 per process).
    """

    def __init__(self, task: Task, num_envs: int, carry_over: bool = False) -> None:
        agent, rules, self._scene = AGENTS[task.name]
        self.num_envs = num_envs
        self._shape = (num_envs, task.act_dim)
        self._worlds = [build_world(self._scene, agent.model) for _ in range(num_envs)]
        self._visible_world: World | None = None  # for pictures, made when the first one is asked for
        self._carry_over = carry_over
        # The engine's state that episodes start from: as built, or, as upstream, from the copy's first start on.
        self._origins: list[int | None] = [None] * num_envs
        if not carry_over:
            self._origins = [pybullet.saveState(world.client) for world in self._worlds]
        self._agent = agent(self._worlds)
        self._rules = rules(self._agent)
        self._random = np.random.RandomState()  # reseeded by every reset: making a new one takes 200 us

    def reset(self, index: int, seed: int) -> NDArray[np.float32]:
        """Start the episode `seed` (0 to 2**32 - 1) in copy `index`; its first observation [obs_dim]."""
        client, origin = self._worlds[index].client, self._origins[index]
        self._random.seed(seed)
        if not self._carry_over:
            forget_contacts(self._worlds[index])
        if origin is not None:
            pybullet.restoreState(origin, physicsClientId=client)
        self._agent.start(index, self._random)
        if not self._carry_over:
            self._agent.release(index)
        self._rules.place(index, self._random)
        if origin is None:
            self._origins[index] = pybullet.saveState(client)
        self._agent.settle(index)
        return self._observations()[index]

    def step(self, actions: NDArray[np.floating], active: NDArray[np.bool_] | None = None) -> BatchStep:
        """Step the active copies; see SimulatorBatch."""
        single = np.asarray(actions).dtype == np.float32
        actions = clipped_actions(actions, self._shape, active)
        stepped = list(range(self.num_envs)) if active is None else np.flatnonzero(active).tolist()
        self._agent.advance(actions, stepped, single)
        rewards = self._rules.rewards(actions, stepped)
        costs = self._rules.costs().astype(np.float64)
        return BatchStep(self._observations(), rewards, costs, self._agent.terminated())

    def render(self, index: int) -> NDArray[np.uint8]:
        """A picture [360, 480, 3] of copy `index`, drawn in software."""
        if self._visible_world is None:
            self._visible_world = build_world(self._scene, self._agent.model, visible=True)
        copy_pose(self._worlds[index], self._visible_world)
        return picture(self._visible_world, self._scene.camera)

    def close(self) -> None:
        """Free the engine instances; closing twice is allowed."""
        if self._visible_world is not None:
            self._worlds.append(self._visible_world)
            self._visible_world = None
        while self._worlds:
            self._worlds.pop().close()

    def _observations(self) -> NDArray[np.float32]:
        return self._rules.observations().astype(np.float32)
